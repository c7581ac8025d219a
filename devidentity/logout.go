package devidentity

import (
	"errors"
	"net/http"
	"net/url"

	jose "github.com/go-jose/go-jose/v4"
)

// endSession is RP-initiated logout (OpenID Connect RP-Initiated Logout
// section 2). With an ID token of ours the browser is signed out at once;
// without one any page could do that to somebody, so the user is asked.
func (p *Provider) endSession(w http.ResponseWriter, r *http.Request) {
	form, err := authorizeForm(r)
	if err == nil {
		err = noDuplicates(form)
	}
	if err != nil {
		p.errorPage(w, r, err)
		return
	}
	target, hinted, err := p.afterLogout(form)
	switch {
	case err != nil:
		p.errorPage(w, r, err)
	case !hinted:
		p.confirmPage(w, r, target)
	default:
		p.endSessionOf(w, r)
		p.leave(w, r, target)
	}
}

// afterLogout returns where the browser goes then; "" is a page of ours.
func (p *Provider) afterLogout(form url.Values) (target string, hinted bool, err error) {
	clientID := form.Get("client_id")
	if hint := form.Get("id_token_hint"); hint != "" {
		token, err := p.readHint(hint)
		if err != nil || (clientID != "" && clientID != token.client) {
			return "", false, refuse("invalid_request", "the id_token_hint is not an ID token of this provider for this client")
		}
		clientID, hinted = token.client, true
	}
	target = form.Get("post_logout_redirect_uri")
	if target == "" {
		return "", hinted, nil
	}
	client, err := p.directory.Load().client(clientID)
	if err != nil || !client.logoutAllowed(target) {
		return "", false, refuse("invalid_request", "the post_logout_redirect_uri is not on the origin of a redirect URI of client %q", clientID)
	}
	if state := form.Get("state"); state != "" {
		target = withQuery(target, url.Values{"state": {state}})
	}
	return target, hinted, nil
}

// idHint is what an ID token says that a client sends as a hint.
type idHint struct{ user, client string }

// readHint returns whom an ID token of ours is about, and which client it was
// issued to. Its expiry does not matter here.
func (p *Provider) readHint(token string) (idHint, error) {
	if err := hasForm(token); err != nil {
		return idHint{}, err
	}
	signed, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return idHint{}, err
	}
	signature := signed.Signatures[0].Protected
	key, err := p.mint.keys.find(signature.KeyID)
	if err != nil {
		return idHint{}, err
	}
	body, err := signed.Verify(key.Key)
	if err != nil {
		return idHint{}, err
	}
	var c tokenClaims
	if err := unmarshalStrict(body, &c); err != nil {
		return idHint{}, err
	}
	if c.Issuer != p.issuer() || len(c.Audience) != 1 || signature.ExtraHeaders[jose.HeaderType] != "JWT" {
		return idHint{}, errors.New("not an ID token of this issuer")
	}
	return idHint{user: c.Subject, client: c.Audience[0]}, nil
}

// signOut takes the form of the confirmation page. Where to go then was
// checked when the page was made, and kept here: it is no form field.
func (p *Provider) signOut(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		p.errorPage(w, r, refuse("invalid_request", "the form cannot be parsed"))
		return
	}
	p.endSessionOf(w, r)
	target, _ := p.logouts.get(r.PostForm.Get("request")) // kept: the browser follows the answer to a second click
	p.leave(w, r, target)
}

func (p *Provider) leave(w http.ResponseWriter, r *http.Request, target string) {
	if target == "" {
		p.messagePage(w, http.StatusOK, "Signed out", "You are signed out of "+p.audience+".")
		return
	}
	http.Redirect(w, r, target, http.StatusSeeOther)
}
