package devgateway

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// site writes files below a fresh folder.
func site(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

var pages = map[string]string{
	"dist/index.html": "<title>home</title>", "dist/assets/app.js": "app", "dist/docs/index.html": "docs", "dist/empty/x.txt": "x",
	"dist/.env": "SECRET=1", "dist/.git/config": "secret", "dist/.well-known/security.txt": "contact", "dist/a b.txt": "space",
	"dist/index.html.d/index.html/x": "a folder of that name", "secret.txt": "secret", "dist/long.txt": "0123456789",
}

func TestStaticFiles(t *testing.T) {
	dir := site(t, pages)
	dist := filepath.Join(dir, "dist")
	for link, to := range map[string]string{"escape.txt": "../secret.txt", "absolute.txt": filepath.Join(dir, "secret.txt"), "out": "..", "inside.js": "assets/app.js", "dangling": "nowhere", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(dist, link)); err != nil {
			t.Fatal(err)
		}
	}
	r := newRig(t, Config{}, Route{Static: dist, Prefix: "/", Auth: AuthNone}, Route{Static: dist, Prefix: "/app", Auth: AuthNone},
		Route{Static: filepath.Join(dist, "long.txt"), Path: "/one", Auth: AuthNone}, Route{Static: dist, Prefix: "/mine"})
	for target, want := range map[string]string{
		"/": "200 <title>home</title>", "/index.html": "200 <title>home</title>", "/assets/app.js": "200 app", "/docs/": "200 docs", "/a%20b.txt": "200 space",
		"/app/": "200 <title>home</title>", "/app/assets/app.js": "200 app", "/one": "200 0123456789", "/inside.js": "200 app", "/.well-known/security.txt": "200 contact",
		"/docs": "307 ./docs/", "/docs?a=b": "307 ./docs/?a=b", "/app": "307 ./app/",
		"/empty/": "404", "/empty": "404", "/assets/": "404", "/nothing": "404", "/assets/app.js/": "404", "/assets//app.js": "404",
		"/.env": "404", "/.git/config": "404", "/.git/": "404", "/escape.txt": "404", "/absolute.txt": "404", "/out/secret.txt": "404", "/out/": "404",
		"/dangling": "404", "/loop": "404", "/index.html.d/": "404", "/one/x": "404", "/" + strings.Repeat("a", 3000): "404",
		"/%2e%2e/secret.txt": "400", "/..%2fsecret.txt": "400", "/assets/..;/index.html": "400", "/mine/": "401",
	} {
		got := r.raw("GET " + target + " HTTP/1.1\nHost: localhost\nConnection: close\n\n")
		have := strings.TrimSpace(got.Status[:4])
		switch got.StatusCode {
		case 200:
			have += " " + got.body
		case 307:
			have += " " + got.Header.Get("Location")
		}
		if have != want {
			t.Errorf("%.60s: %s, want %s", target, have, want)
		}
		if got.StatusCode == 200 && strings.Contains(got.body, "secret") {
			t.Errorf("%s: %s", target, got.body)
		}
	}
}

func TestStaticMethods(t *testing.T) {
	r := newRig(t, Config{}, Route{Static: site(t, map[string]string{"x.txt": "hello"}), Prefix: "/", Auth: AuthNone})
	if got := r.do("HEAD", "/x.txt", nil); got.StatusCode != 200 || got.ContentLength != 5 || got.body != "" {
		t.Errorf("HEAD: %s %d", got.Status, got.ContentLength)
	}
	for _, method := range []string{"POST", "PUT", "DELETE", "OPTIONS"} {
		if got := r.do(method, "/x.txt", nil); got.StatusCode != 405 || got.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s: %s %q", method, got.Status, got.Header.Get("Allow"))
		}
	}
}

func TestStaticConditionsAndRanges(t *testing.T) {
	dir := site(t, map[string]string{"x.txt": "0123456789"})
	r := newRig(t, Config{}, Route{Static: dir, Prefix: "/", Auth: AuthNone})
	first := r.do("GET", "/x.txt", nil)
	tag, modified := first.Header.Get("Etag"), first.Header.Get("Last-Modified")
	if first.Header.Get("Cache-Control") != "no-cache" || first.Header.Get("X-Content-Type-Options") != "nosniff" || !strings.HasPrefix(first.Header.Get("Content-Type"), "text/plain") {
		t.Errorf("%v", first.Header)
	}
	for _, tt := range []struct {
		header []string
		status int
		body   string
	}{
		{[]string{"If-None-Match", tag}, 304, ""}, {[]string{"If-None-Match", `W/` + tag}, 304, ""}, {[]string{"If-None-Match", `"other"`}, 200, "0123456789"},
		{[]string{"If-Modified-Since", modified}, 304, ""}, {[]string{"If-Modified-Since", "Mon, 01 Jan 2001 00:00:00 GMT"}, 200, "0123456789"},
		{[]string{"If-Match", `"other"`}, 412, ""}, {[]string{"Range", "bytes=2-4"}, 206, "234"}, {[]string{"Range", "bytes=-2"}, 206, "89"},
		{[]string{"Range", "bytes=20-"}, 416, ""}, {[]string{"Range", "bytes=0-1", "If-Range", tag}, 206, "01"}, {[]string{"Range", "bytes=0-1", "If-Range", `"other"`}, 200, "0123456789"},
	} {
		if got := r.do("GET", "/x.txt", nil, tt.header...); got.StatusCode != tt.status || tt.body != "" && got.body != tt.body {
			t.Errorf("%v: %s %q", tt.header, got.Status, got.body)
		}
	}
	if got := r.do("GET", "/x.txt", nil, "Range", "bytes=0-1,4-5"); got.StatusCode != 206 || !strings.HasPrefix(got.Header.Get("Content-Type"), "multipart/byteranges") {
		t.Errorf("two ranges: %s %v", got.Status, got.Header)
	}
	// A file that is written anew within the second has another tag.
	if err := os.Chtimes(filepath.Join(dir, "x.txt"), time.Time{}, time.Now().Add(time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if got := r.do("GET", "/x.txt", nil, "If-None-Match", tag); got.StatusCode != 200 {
		t.Errorf("a new file: %s", got.Status)
	}
}

// TestSinglePageApp: where the app goes itself, it gets its page; a file that is
// missing is missing.
func TestSinglePageApp(t *testing.T) {
	dist := filepath.Join(site(t, pages), "dist")
	r := newRig(t, Config{}, Route{Static: dist, Prefix: "/", SPA: true, Auth: AuthNone}, Route{Service: "api", Prefix: "/api/", Auth: AuthNone})
	r.SetInstances(one("api", upstream(t, seen)))
	const browser = "text/html,application/xhtml+xml,*/*;q=0.8"
	for _, tt := range []struct {
		path, accept string
		status       int
		body         string
	}{
		{"/", browser, 200, "home"}, {"/cart/7", browser, 200, "home"}, {"/cart/7", "*/*", 200, "home"}, {"/users/john.doe", browser, 200, "home"},
		{"/assets/app.js", "*/*", 200, "app"}, {"/assets/old.js", "*/*", 404, ""}, {"/empty/", browser, 200, "home"}, {"/docs/", browser, 200, "docs"},
		{"/.env", "*/*", 404, ""}, {"/assets/app.js/", "*/*", 404, ""}, {"/assets/app.js/", browser, 200, "home"}, {"/api/x", browser, 200, "hello"}, {"/api", browser, 200, "home"},
	} {
		got := r.do("GET", tt.path, nil, "Accept", tt.accept)
		if got.StatusCode != tt.status || !strings.Contains(got.body, tt.body) {
			t.Errorf("%s: %s %q", tt.path, got.Status, got.body)
		}
	}
}

func TestAFrontEndThatIsNotBuiltYet(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "dist")
	r := newRig(t, Config{}, Route{Static: dir, Prefix: "/", SPA: true, Auth: AuthNone})
	if got := r.do("GET", "/", nil); got.StatusCode != 503 || !strings.Contains(got.body, "build the front end") {
		t.Errorf("%s %s", got.Status, got.body)
	}
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"/": 503, "/cart/7": 503, "/app.js": 404} {
		got := r.do("GET", path, nil)
		if got.StatusCode != want || want == 503 && !strings.Contains(got.body, "has no index.html (yet), the page of the app: build the front end") {
			t.Errorf("%s without index.html: %s %s", path, got.Status, got.body)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), []byte("built"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := r.do("GET", "/", nil); got.body != "built" {
		t.Errorf("%s %s", got.Status, got.body)
	}
}

// A file longer than any buffer arrives whole while it is sent, by both protocols.
func TestALongFile(t *testing.T) {
	text := strings.Repeat("0123456789abcdef", 1<<18)
	r := newRig(t, Config{}, Route{Static: site(t, map[string]string{"x.bin": text}), Prefix: "/", Auth: AuthNone})
	for _, client := range []*http.Client{r.client, r.h2} {
		res, err := client.Get(r.url + "/x.bin")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || string(got) != text {
			t.Errorf("%s: %d bytes, %v", res.Proto, len(got), err)
		}
	}
}
