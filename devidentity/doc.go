// Package devidentity is mesh's identity provider for development: an OpenID
// Connect provider whose users stand in the workspace's manifest and sign in
// with one click, and the verifier of the access tokens that it issues.
//
// What a relying party can tell apart from a production provider is only
// that nobody asks for a password. It speaks OpenID Connect Core and
// Discovery, OAuth 2.0 with PKCE (RFC 7636, S256 only, always required),
// client credentials, refresh tokens that rotate, the device grant (RFC
// 8628), introspection (RFC 7662), revocation (RFC 7009), RP-initiated
// logout, and names itself in every authorization response (RFC 9207). Access
// tokens are JWTs after RFC 9068, signed with ES256.
//
// There is no implicit and no password grant, no request object, and no
// algorithm to choose. See docs/identity.md.
//
// The provider is this package's own, on go-jose; docs/adr/0020-identity-provider.md
// says why.
package devidentity
