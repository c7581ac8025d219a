package devidentity

import (
	"net"
	"net/http"
	"net/url"
	"strings"
)

// maxForm bounds the body of a request; forms are short.
const maxForm = 64 << 10

// hostsOf lists the Host headers that name the issuer. On loopback the other
// spellings of it are the same machine, and no name that somebody else
// controls is among them.
func hostsOf(issuer *url.URL) map[string]bool {
	hosts := map[string]bool{strings.ToLower(issuer.Host): true}
	name, port := issuer.Hostname(), issuer.Port()
	if ip := net.ParseIP(name); name != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return hosts
	}
	for _, same := range []string{"localhost", "127.0.0.1", "::1"} {
		hosts[net.JoinHostPort(same, port)] = true
	}
	return hosts
}

// hostChecked refuses requests for another host: a page of an attacker whose
// name was pointed here (DNS rebinding) could otherwise read every answer.
func (p *Provider) hostChecked(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !p.at.Load().hosts[strings.ToLower(r.Host)] {
			http.Error(w, "This is not the host that you asked for. The identity provider is "+p.issuer(), http.StatusForbidden)
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		next.ServeHTTP(w, r)
	})
}

// framed sets the headers of pages: nothing from elsewhere, no script at all,
// in no frame, in no cache. form-action is left out: browsers apply it to the
// redirect that follows a form, which leads to the relying party.
func (p *Provider) framed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Frame-Options", "DENY")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

// openToScripts lets single-page apps call the endpoints that are guarded by
// what the request says. They use no cookie, so any origin may.
func openToScripts(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Access-Control-Allow-Origin", "*")
		h.Set("X-Content-Type-Options", "nosniff")
		if r.Method == http.MethodOptions {
			h.Set("Access-Control-Allow-Methods", "GET, POST")
			h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
			w.WriteHeader(http.StatusNoContent)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func get(next http.HandlerFunc) http.HandlerFunc  { return only(http.MethodGet, next) }
func post(next http.HandlerFunc) http.HandlerFunc { return only(http.MethodPost, next) }

func only(method string, next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Method != method && (r.Method != http.MethodHead || method != http.MethodGet) {
			w.Header().Set("Allow", method)
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		next(w, r)
	}
}

// once returns the value of a parameter that RFC 6749 allows only once.
func once(form url.Values, name string) (string, error) {
	values := form[name]
	if len(values) > 1 {
		return "", refuse("invalid_request", "the parameter %s is given more than once", name)
	}
	return form.Get(name), nil
}

// required returns a parameter that must be there; an empty one is not (RFC 6749
// section 3.2).
func required(form url.Values, name string) (string, error) {
	value := form.Get(name)
	if value == "" {
		return "", refuse("invalid_request", "there is no %s", name)
	}
	return value, nil
}

// noDuplicates refuses a form that gives any parameter twice.
func noDuplicates(form url.Values) error {
	for name := range form {
		if _, err := once(form, name); err != nil {
			return err
		}
	}
	return nil
}
