package devidentity

import (
	"bytes"
	"embed"
	"html/template"
	"net/http"
	"strings"
	"unicode/utf8"
)

//go:embed pages
var pageFiles embed.FS

func parsePages() (*template.Template, error) {
	functions := template.FuncMap{
		"initial": func(s string) string {
			r, _ := utf8.DecodeRuneInString(s)
			return strings.ToUpper(string(r))
		},
	}
	return template.New("").Funcs(functions).ParseFS(pageFiles, "pages/*.html")
}

// pageData is what the pages show. A page has a title, a line below it, and
// what of the rest it needs.
type pageData struct {
	Title, Lead string
	Workspace   string
	Users       []User
	Hint        string // the user whose button has the focus
	Request     string // what the form of the page continues
	UserCode    string
	Client      string
	Links       []pageLink
}

type pageLink struct{ Name, URL string }

// render writes a page whole, or an error: never half a page.
func (p *Provider) render(w http.ResponseWriter, status int, name string, data pageData) {
	data.Workspace = p.audience
	var page bytes.Buffer
	if err := p.pages.ExecuteTemplate(&page, name, data); err != nil {
		p.log.Error("identity cannot show a page", "page", name, "error", err)
		http.Error(w, "this page cannot be shown; mesh's log says why", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = page.WriteTo(w)
}

func (p *Provider) style(w http.ResponseWriter, _ *http.Request) {
	body, err := pageFiles.ReadFile("pages/style.css")
	if err != nil { // it is embedded
		http.Error(w, "no such file", http.StatusNotFound)
		return
	}
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("Cache-Control", "max-age=3600")
	_, _ = w.Write(body)
}

// signInPage keeps the request until the user chose who they are.
func (p *Provider) signInPage(w http.ResponseWriter, r *http.Request, req *authRequest) {
	req.page.browser = p.browserOf(w, r)
	users := p.directory.Load().ordered
	hint := req.hint
	if len(users) > 0 && !hasUser(users, hint) {
		hint = users[0].Name
	}
	p.render(w, http.StatusOK, "signin.html", pageData{
		Title: "Sign in", Lead: "to continue to " + req.client.ID, Client: req.client.ID,
		Users: users, Hint: hint, Request: p.pending.put(req),
	})
}

func hasUser(users []User, name string) bool {
	for _, u := range users {
		if u.Name == name {
			return true
		}
	}
	return false
}

func (p *Provider) errorPage(w http.ResponseWriter, r *http.Request, err error) {
	e := asOAuth(err)
	p.log.InfoContext(r.Context(), "identity refused a request", "path", r.URL.Path, "error", err)
	p.messagePage(w, e.status(), "This did not work", strings.ToUpper(e.Description[:1])+e.Description[1:]+".")
}

func (p *Provider) messagePage(w http.ResponseWriter, status int, title, lead string) {
	p.render(w, status, "message.html", pageData{Title: title, Lead: lead})
}

func (p *Provider) confirmPage(w http.ResponseWriter, _ *http.Request, target string) {
	p.render(w, http.StatusOK, "signout.html", pageData{
		Title: "Sign out?", Lead: "of " + p.audience, Request: p.logouts.put(target),
	})
}

// askDevice asks for the code, or, when it is known, who the user is.
func (p *Provider) askDevice(w http.ResponseWriter, d *device, code string) {
	data := pageData{Title: "Connect a device", Lead: "Type the code that the device shows.", UserCode: code}
	if d != nil {
		data.Lead, data.Client = "The code "+code+" belongs to "+d.client.ID+".", d.client.ID
		data.Users = p.directory.Load().ordered
	} else if code != "" {
		data.Lead = "There is no such code, or it has expired. Type the code that the device shows."
	}
	p.render(w, http.StatusOK, "device.html", data)
}

// home says what this is to whoever opens the issuer in a browser.
func (p *Provider) home(w http.ResponseWriter, r *http.Request) {
	data := pageData{Title: "Identity", Lead: "The OpenID Connect provider of " + p.audience + "."}
	if s, ok := p.sessionOf(r); ok {
		data.Lead += " You are signed in as " + s.user + "."
		data.Links = append(data.Links, pageLink{"Sign out", "end_session"})
	}
	data.Links = append(data.Links, pageLink{"Configuration", ".well-known/openid-configuration"}, pageLink{"Keys", "jwks"})
	p.render(w, http.StatusOK, "message.html", data)
}
