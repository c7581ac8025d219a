package devgateway

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

func TestCORS(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Methods: []string{"POST"}})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
	})))
	preflight := func(origin string) reply {
		return r.raw("OPTIONS /x HTTP/1.1\nHost: " + r.addr + "\nOrigin: " + origin + "\nAccess-Control-Request-Method: POST\nAccess-Control-Request-Headers: authorization\n\n")
	}
	call := func(origin, token string) reply {
		return r.raw("POST /x HTTP/1.1\nHost: " + r.addr + "\nOrigin: " + origin + "\nContent-Length: 0\n" + token + "\n")
	}
	const page, alice = "http://localhost:5173", "Authorization: Bearer alice\n"
	if got := preflight(page); got.StatusCode < 400 {
		t.Errorf("without a list: %d", got.StatusCode)
	}
	r.setCORS(CORS{Origins: []string{page}})
	if got := preflight(page); got.StatusCode != 204 || got.Header.Get("Access-Control-Allow-Origin") != page || got.Header.Get("Access-Control-Allow-Headers") != "authorization" {
		t.Errorf("preflight: %d %v", got.StatusCode, got.Header)
	}
	for _, evil := range []string{"http://evil.example", "http://localhost:5173.evil.example", "null", "https://localhost:5173"} {
		if got := preflight(evil); got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: %v", evil, got.Header)
		}
		if got := call(evil, alice); got.StatusCode != 403 || got.Header.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s may call or read: %d %v", evil, got.StatusCode, got.Header)
		}
	}
	if got := call(page, alice); got.StatusCode != 200 || len(got.Header["Access-Control-Allow-Origin"]) != 1 || got.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
	// The page may read why it was refused.
	if got := call(page, ""); got.StatusCode != 401 || got.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%d %v", got.StatusCode, got.Header)
	}
	r.setCORS(CORS{Origins: []string{"*"}})
	if got := call("http://any.example", alice); got.Header.Get("Access-Control-Allow-Origin") != "*" || got.Header.Get("Access-Control-Allow-Credentials") != "" {
		t.Errorf("any: %v", got.Header)
	}
}

// What comes before an answer does not take its headers away.
func TestCORSBehindInterimAnswers(t *testing.T) {
	const page = "http://localhost:5173"
	r := newRig(t, Config{}, open1...)
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		_, _ = io.WriteString(w, "done")
	})))
	r.setCORS(CORS{Origins: []string{page}})
	if got := r.do("GET", "/", nil, "Origin", page); got.body != "done" || got.Header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("%q %v", got.body, got.Header)
	}
}

const page, stranger = "http://localhost:5173", "http://localhost:5999"

// preflight asks as a browser does before a page's request.
func (r *rig) preflight(path, origin, method, headers string) reply {
	r.t.Helper()
	return r.raw("OPTIONS " + path + " HTTP/1.1\nHost: " + r.addr + "\nOrigin: " + origin + "\nAccess-Control-Request-Method: " + method + "\nAccess-Control-Request-Headers: " + headers + "\n\n")
}

// Each route says who may call it: a preflight is answered by the one that the request
// will have.
func TestCORSOfRoutes(t *testing.T) {
	may := CORS{Origins: []string{page}}
	r := newRig(t, Config{},
		Route{Service: "s", Prefix: "/closed/", Auth: AuthNone},
		Route{Service: "s", Prefix: "/open/", Auth: AuthNone, CORS: may},
		Route{Service: "s", Prefix: "/split/", Auth: AuthNone, Methods: []string{"GET"}},
		Route{Service: "s", Prefix: "/split/", Auth: AuthNone, Methods: []string{"PROPFIND", "PUT"}, CORS: may},
		Route{Service: "s", Prefix: "/beta/", Auth: AuthNone},
		Route{Service: "s", Prefix: "/beta/", Auth: AuthNone, Headers: map[string]string{"X-Beta": "1"}, CORS: may})
	r.SetInstances(one("s", upstream(t, func(http.ResponseWriter, *http.Request) {})))
	r.SetCORS(CORS{Origins: []string{stranger}}) // of what has no route
	for request, want := range map[string]bool{
		"PUT /closed/": false, "PUT /open/": true, "PROPFIND /open/": false, "PROPFIND /split/": true, "PUT /split/": true, "GET /split/": false,
		"DELETE /split/": false, "PUT /beta/": false, "PUT /beta/ content-type, x-beta": true, "GET /.mesh/routes": false,
	} {
		part := strings.SplitN(request, " ", 3)
		got := r.preflight(part[1], page, part[0], strings.Join(part[2:], ""))
		if allowed := got.Header.Get("Access-Control-Allow-Origin") == page && got.Header.Get("Access-Control-Allow-Methods") == part[0]; allowed != want {
			t.Errorf("%s: %d %v", request, got.StatusCode, got.Header)
		}
	}
	for path, status := range map[string]int{"/closed/": 403, "/open/": 200, "/split/": 200, "/nowhere/": 403} {
		got := r.do("PUT", path, nil, "Origin", page)
		if readable := got.Header.Get("Access-Control-Allow-Origin") == page; got.StatusCode != status || readable != (status == 200) {
			t.Errorf("%s: %d %v", path, got.StatusCode, got.Header)
		}
	}
	if got := r.do("GET", "/nowhere/", nil, "Origin", stranger); got.StatusCode != 404 || got.Header.Get("Access-Control-Allow-Origin") != stranger {
		t.Errorf("without a route: %d %v", got.StatusCode, got.Header)
	}
}

// A page reads the headers that the gateway sets, the route names and the service
// exposes itself; of nobody else's page a service says anything.
func TestExposedHeaders(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, CORS: CORS{Origins: []string{page}, Expose: []string{"link"}}})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Expose-Headers", "X-Total")
		w.Header().Set("Access-Control-Allow-Origin", "*")
	})))
	got := r.do("GET", "/", nil, "Origin", page)
	exposed := strings.Join(got.Header["Access-Control-Expose-Headers"], ", ")
	for _, name := range []string{"Grpc-Status", "Retry-After", "Link", "X-Total"} {
		if !strings.Contains(exposed, name) {
			t.Errorf("%s is not in %s", name, exposed)
		}
	}
	if got := r.do("GET", "/", nil, "Origin", stranger); len(got.Header["Access-Control-Expose-Headers"])+len(got.Header["Access-Control-Allow-Origin"]) > 0 {
		t.Errorf("to a stranger: %v", got.Header)
	}
	if again := r.do("GET", "/", nil, "Origin", page); strings.Join(again.Header["Access-Control-Expose-Headers"], ", ") != exposed {
		t.Errorf("the second time: %v", again.Header)
	}
}

// A cache gives a page no answer that was for nobody's page: that they differ is said
// with each (the Fetch standard, CORS protocol and HTTP caches).
func TestAnswersVaryByOrigin(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, CORS: CORS{Origins: []string{page}}}, Route{Service: "s", Prefix: "/closed", Auth: AuthNone})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("Vary", "Accept") })))
	for path, want := range map[string]string{"/": "Origin, Accept", "/closed": "Accept"} {
		if got := strings.Join(r.do("GET", path, nil).Header["Vary"], ", "); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

// A route that names no origin is for none, whatever its service says; what is the
// gateway's own follows no route.
func TestCORSOfNobody(t *testing.T) {
	r := newRig(t, Config{}, Route{Service: "s", Prefix: "/", Auth: AuthNone, CORS: CORS{Origins: []string{page}}},
		Route{Service: "s", Prefix: "/none/", Auth: AuthNone, CORS: CORS{Origins: []string{}}})
	r.SetInstances(one("s", upstream(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Access-Control-Allow-Origin", "*")
	})))
	r.SetCORS(CORS{Origins: []string{stranger}}) // of what has no route
	for path, want := range map[string]string{"/x": page, "/none/x": "", "/.mesh/routes": stranger} {
		for _, origin := range []string{page, stranger} {
			preflight, got := r.preflight(path, origin, "GET", ""), r.do("GET", path, nil, "Origin", origin)
			for _, answer := range []reply{preflight, got} {
				if allowed := answer.Header.Get("Access-Control-Allow-Origin"); allowed != "" && allowed != want || origin == want && allowed != want {
					t.Errorf("%s from %s: %d %v", path, origin, answer.StatusCode, answer.Header)
				}
			}
		}
	}
}
