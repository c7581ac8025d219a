package devidentity

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
)

// oauthError is an error in the words of RFC 6749 section 5.2.
type oauthError struct {
	Code        string `json:"error"`
	Description string `json:"error_description,omitempty"`
}

func (e *oauthError) Error() string { return e.Code + ": " + e.Description }

func refuse(code, format string, args ...any) error {
	return &oauthError{code, fmt.Sprintf(format, args...)}
}

// told is the error as programs are told it; pages and the log have it as it is.
func (e *oauthError) told() *oauthError { return &oauthError{e.Code, permitted(e.Description)} }

// permitted leaves the letters that error_description may have (RFC 6749 section
// 5.2): among the printable ones of ASCII neither the double quote nor the
// backslash.
func permitted(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < 0x20 || r > 0x7e || r == '\\':
			return '?'
		}
		return r
	}, s)
}

// short is enough of what a client sent for it to be recognized.
func short(s string) string { return permitted(s[:min(len(s), 100)]) }

// asOAuth turns any error into one that may be shown; what went wrong inside
// is for the log.
func asOAuth(err error) *oauthError {
	var e *oauthError
	if errors.As(err, &e) {
		return e
	}
	return &oauthError{Code: "server_error", Description: "the provider could not do this; its log says why"}
}

// status is the HTTP status of an error at the endpoints for programs.
func (e *oauthError) status() int {
	switch e.Code {
	case "invalid_client":
		return http.StatusUnauthorized
	case "server_error":
		return http.StatusInternalServerError
	}
	return http.StatusBadRequest
}

// answerError writes an error of the endpoints for programs.
func (p *Provider) answerError(w http.ResponseWriter, r *http.Request, err error) {
	e := asOAuth(err)
	p.log.InfoContext(r.Context(), "identity refused a request", "path", r.URL.Path, "error", err)
	if e.status() == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Basic realm="mesh"`)
	}
	writeJSON(w, e.status(), e.told())
}

// writeJSON writes what must not be kept by anybody on the way (RFC 6749
// section 5.1).
func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil { // the values are this package's own, so this is a bug
		http.Error(w, "cannot encode the answer", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if h.Get("Cache-Control") == "" {
		h.Set("Cache-Control", "no-store")
		h.Set("Pragma", "no-cache")
	}
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
