// Package oidc holds what may be said of users and clients: who reads it from a manifest
// tells where it stands, and who keeps it takes nothing else.
package oidc

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
)

// MostName bounds names of users, roles and clients, in bytes.
const MostName = 200

// PlainName reports whether something may be the name of a user, a role or a client:
// names stand in lists with commas and in headers.
func PlainName(name string) bool {
	return name != "" && len(name) <= MostName && !strings.ContainsFunc(name, func(r rune) bool {
		return unicode.IsControl(r) || unicode.IsSpace(r) || r == ','
	})
}

// MostClaims bounds the claims of a user, in bytes of JSON: a token of more than 16 KiB
// is refused.
const MostClaims = 4 << 10

// own are the provider's to set: nobody gives a user another value of these (RFC 7519,
// RFC 9068, OpenID Connect Core).
func own() []string {
	return []string{"iss", "sub", "aud", "exp", "nbf", "iat", "jti", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "sid", "typ", "cnf", "act",
		"client_id", "scope", "email", "email_verified", "roles", "groups"}
}

// CheckClaim says why a user cannot be given a claim.
func CheckClaim(name string, value any) error {
	// In any case of letters: many readers of JSON make no difference, and take the last.
	if name == "" || slices.ContainsFunc(own(), func(its string) bool { return strings.EqualFold(its, name) }) {
		return fmt.Errorf("%q is no claim to give: the provider sets it", name)
	}
	if _, err := json.Marshal(value); err != nil {
		return fmt.Errorf("the claim %q is no JSON value: %w", name, err)
	}
	return nil
}

// CheckClaims says why a user cannot be given so many claims, each of which may be.
func CheckClaims(all map[string]any) error {
	if text, err := json.Marshal(all); err == nil && len(text) > MostClaims {
		return fmt.Errorf("the claims have %d bytes together: they may have %d, since tokens travel in headers", len(text), MostClaims)
	}
	return nil
}

// CheckRedirectURI says why a URI cannot be registered: it is absolute, without a
// fragment (RFC 6749 section 3.1.2) and without user information.
func CheckRedirectURI(uri string) error {
	u, err := url.Parse(uri)
	switch {
	case err != nil:
		return fmt.Errorf("redirect URI %q: %w", uri, err)
	case u.Scheme == "" || (u.Host == "" && (u.Scheme == "http" || u.Scheme == "https")):
		return fmt.Errorf("redirect URI %q is not absolute", uri)
	case u.Scheme == "javascript" || u.Scheme == "data" || u.Scheme == "vbscript":
		return fmt.Errorf("redirect URI %q would run as a script", uri)
	case strings.Contains(uri, "#") || u.User != nil:
		return fmt.Errorf("redirect URI %q has a fragment or user information", uri)
	}
	return nil
}
