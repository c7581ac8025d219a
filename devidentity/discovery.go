package devidentity

import "net/http"

// metadata is the provider's description of itself (OpenID Connect Discovery
// section 3, RFC 8414). It lists what is there, and nothing that is not.
type metadata struct {
	Issuer                   string   `json:"issuer"`
	Authorization            string   `json:"authorization_endpoint"`
	Token                    string   `json:"token_endpoint"`
	Userinfo                 string   `json:"userinfo_endpoint"`
	JWKS                     string   `json:"jwks_uri"`
	Introspection            string   `json:"introspection_endpoint"`
	Revocation               string   `json:"revocation_endpoint"`
	EndSession               string   `json:"end_session_endpoint"`
	DeviceAuthorization      string   `json:"device_authorization_endpoint"`
	Scopes                   []string `json:"scopes_supported"`
	ResponseTypes            []string `json:"response_types_supported"`
	ResponseModes            []string `json:"response_modes_supported"`
	Grants                   []string `json:"grant_types_supported"`
	SubjectTypes             []string `json:"subject_types_supported"`
	IDTokenAlgorithms        []string `json:"id_token_signing_alg_values_supported"`
	TokenAuth                []string `json:"token_endpoint_auth_methods_supported"`
	IntrospectionAuth        []string `json:"introspection_endpoint_auth_methods_supported"`
	RevocationAuth           []string `json:"revocation_endpoint_auth_methods_supported"`
	Claims                   []string `json:"claims_supported"`
	ChallengeMethods         []string `json:"code_challenge_methods_supported"`
	Prompts                  []string `json:"prompt_values_supported"`
	IssuerInResponse         bool     `json:"authorization_response_iss_parameter_supported"`
	RequestSupported         bool     `json:"request_parameter_supported"`
	RequestURISupported      bool     `json:"request_uri_parameter_supported"`
	ClaimsParameterSupported bool     `json:"claims_parameter_supported"`
}

func (p *Provider) discovery(w http.ResponseWriter, _ *http.Request) {
	at := func(path string) string { return p.endpoint(path) }
	secret := []string{"client_secret_basic", "client_secret_post"}
	w.Header().Set("Cache-Control", "max-age=60")
	writeJSON(w, http.StatusOK, metadata{
		Issuer: p.issuer(), Authorization: at("/authorize"), Token: at("/token"), Userinfo: at("/userinfo"),
		JWKS: at("/jwks"), Introspection: at("/introspect"), Revocation: at("/revoke"),
		EndSession: at("/end_session"), DeviceAuthorization: at("/device_authorization"),
		Scopes:        []string{"openid", "profile", "email", "offline_access"},
		ResponseTypes: []string{"code"}, ResponseModes: []string{"query"},
		Grants:            []string{grantCode, grantRefresh, grantClient, grantDevice},
		SubjectTypes:      []string{"public"},
		IDTokenAlgorithms: []string{"ES256"},
		TokenAuth:         append([]string{"none"}, secret...), IntrospectionAuth: secret,
		RevocationAuth:   append([]string{"none"}, secret...),
		Claims:           []string{"sub", "name", "preferred_username", "email", "email_verified", "roles"},
		ChallengeMethods: []string{"S256"}, Prompts: []string{"none", "login", "consent", "select_account"},
		IssuerInResponse: true,
	})
}

func (p *Provider) jwks(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Cache-Control", "max-age=60")
	writeJSON(w, http.StatusOK, p.mint.keys.public())
}
