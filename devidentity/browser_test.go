package devidentity

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/oauth2"

	"github.com/ebef7166/mesh/internal/need"
)

// TestBrowserSignsIn holds that the page works in a real browser, under its own
// content security policy: one click, or the keyboard alone.
func TestBrowserSignsIn(t *testing.T) {
	chromium := need.Program(t, "chromium", "chromium-browser", "google-chrome")
	for name, choose := range map[string]chromedp.Action{
		"click":    chromedp.Click(`//button[contains(., "admin")]`, chromedp.BySearch),
		"keyboard": chromedp.KeyEvent(kb.Enter), // the first user has the focus
	} {
		t.Run(name, func(t *testing.T) {
			browserSignsIn(t, chromium, choose, map[string]string{"click": "admin", "keyboard": "alice"}[name])
		})
	}
}

func browserSignsIn(t *testing.T, chromium string, choose chromedp.Action, user string) {
	w := newWorld(t)
	codes := make(chan string, 1)
	app, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if code := r.FormValue("code"); r.FormValue("state") == "s" && r.FormValue("iss") == w.config.Issuer && code != "" {
			codes <- code
		}
	})}
	go server.Serve(app)
	defer server.Close()

	config := w.oauth("spa", "openid")
	config.RedirectURL = "http://" + app.Addr().String() + "/cb"
	pkce := oauth2.GenerateVerifier()
	browse(t, chromium, config.AuthCodeURL("s", oauth2.S256ChallengeOption(pkce)), choose)

	select {
	case code := <-codes:
		token, err := config.Exchange(t.Context(), code, oauth2.VerifierOption(pkce))
		if err != nil {
			t.Fatal(err)
		}
		claims, err := w.Verifier().Verify(t.Context(), token.AccessToken)
		if err != nil || claims.Subject != user {
			t.Errorf("%+v %v", claims, err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("no code came back")
	}
	http.DefaultClient.CloseIdleConnections()
}

// browse opens a page in a fresh profile and does one thing on it.
func browse(t *testing.T, chromium, url string, action chromedp.Action) {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.UserDataDir(t.TempDir()), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	ctx, stop := chromedp.NewExecAllocator(ctx, options...)
	defer stop()
	ctx, closeTab := chromedp.NewContext(ctx)
	defer closeTab()
	if err := chromedp.Run(ctx, chromedp.Navigate(url), chromedp.WaitVisible("button"), action, chromedp.WaitNotPresent("button")); err != nil {
		t.Fatal(err)
	}
	if err := chromedp.Cancel(ctx); err != nil {
		t.Error(err)
	}
}
