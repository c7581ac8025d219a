package devidentity

import (
	"context"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// Lifetimes, as the contract promises them.
const (
	accessTTL  = 15 * time.Minute
	issuedTTL  = time.Hour // from [Provider.Issue], unless asked otherwise
	maxTTL     = 24 * time.Hour
	idTTL      = time.Hour
	refreshTTL = 24 * time.Hour
	codeTTL    = time.Minute
	signInTTL  = 10 * time.Minute // how long the sign-in page may stay open
	sessionTTL = 12 * time.Hour
	leeway     = 30 * time.Second
)

// Config is what a provider is made from.
type Config struct {
	Dir      string // for keys and refresh tokens; made with mode 0700 when it is missing
	Issuer   string // exactly what tokens say and relying parties expect
	Audience string // the aud of access tokens: the workspace's name
	Users    []User
	Clients  []Client
	Logger   *slog.Logger // nil: silent
}

// Provider is an OpenID Connect provider. Its methods may be called from many
// goroutines at once.
type Provider struct {
	path     string // of the issuer's URL, without a trailing slash
	audience string
	log      *slog.Logger
	pages    *template.Template
	mint     *mint
	verifier *Verifier
	state    *state

	directory atomic.Pointer[directory]
	at        atomic.Pointer[place]

	pending  *expiring[*authRequest] // sign-in pages that are open, kept after use for a second click
	codes    *expiring[*grant]       // authorization codes, kept after use so that a replay is noticed
	sessions *expiring[*session]     // browsers that are signed in
	logouts  *expiring[string]       // where to go after a sign-out that waits for the user's yes
	devices  *expiring[*device]      // by device code
	userCode *expiring[*device]      // the same, by user code
}

// New loads or makes the keys of Dir and returns a provider. It fails when
// they cannot be read: there is no provider without its keys.
func New(c Config) (*Provider, error) {
	p := &Provider{
		audience: c.Audience, log: c.Logger,
		pending:  newExpiring[*authRequest](signInTTL, 1000),
		codes:    newExpiring[*grant](10*codeTTL, 10_000),
		sessions: newExpiring[*session](sessionTTL, 10_000),
		logouts:  newExpiring[string](signInTTL, 1000),
		devices:  newExpiring[*device](deviceTTL, 1000),
		userCode: newExpiring[*device](deviceTTL, 1000),
	}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	if err := p.locate(c.Issuer); err != nil {
		return nil, err
	}
	if err := p.Update(c.Users, c.Clients); err != nil {
		return nil, err
	}
	return p, p.open(c.Dir)
}

// place is the issuer: tokens carry it as it is, and only its hosts may be asked.
type place struct {
	issuer string
	hosts  map[string]bool
}

// locate takes the issuer apart: the handler serves under its path.
func (p *Provider) locate(issuer string) error {
	u, err := parseIssuer(issuer)
	if err != nil {
		return err
	}
	if p.audience == "" {
		return errors.New("identity: no audience given")
	}
	p.path = strings.TrimSuffix(u.Path, "/")
	p.at.Store(&place{issuer, hostsOf(u)})
	return nil
}

func parseIssuer(issuer string) (*url.URL, error) {
	u, err := url.Parse(issuer)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("identity: the issuer %q is not an http or https URL without query and fragment", issuer)
	}
	return u, nil
}

// Move gives the provider another issuer of the same path. It answers at the hosts
// that it had, too; the tokens that it has issued are not good any more.
func (p *Provider) Move(issuer string) error {
	u, err := parseIssuer(issuer)
	if err != nil {
		return err
	}
	if strings.TrimSuffix(u.Path, "/") != p.path {
		return fmt.Errorf("identity: the issuer %q has another path than %q", issuer, p.issuer())
	}
	hosts := hostsOf(u)
	maps.Copy(hosts, p.at.Load().hosts)
	p.at.Store(&place{issuer, hosts})
	p.verifier.cache.clear()
	return nil
}

func (p *Provider) issuer() string { return p.at.Load().issuer }

func (p *Provider) open(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	keys, err := loadKeys(filepath.Join(dir, "keys.json"))
	if err != nil {
		return err
	}
	if p.state, err = loadState(filepath.Join(dir, "grants.json")); err != nil {
		return err
	}
	p.mint = &mint{issuer: p.issuer, audience: p.audience, keys: keys}
	p.verifier = NewVerifier(p.issuer(), p.audience, keys)
	p.verifier.issuer = p.issuer
	p.verifier.revoked = p.state.isRevoked
	p.pages, err = parsePages()
	return err
}

// Update replaces the users and the clients. On an error nothing changes.
// Tokens that were issued stay valid until they expire.
func (p *Provider) Update(users []User, clients []Client) error {
	d, err := newDirectory(users, clients)
	if err != nil {
		return err
	}
	p.directory.Store(d)
	return nil
}

// Verifier returns the verifier of this provider's access tokens. It refuses
// revoked ones at once.
func (p *Provider) Verifier() *Verifier { return p.verifier }

// TokenRequest says which token [Provider.Issue] shall issue: a user's, or,
// without a user, one that a client has in its own name.
type TokenRequest struct {
	User, Client string
	Scopes       []string
	TTL          time.Duration // zero: one hour
}

// Issue makes an access token without a sign-in, for `mesh token` and smoke
// checks: whoever can call it owns the workspace.
func (p *Provider) Issue(_ context.Context, r TokenRequest) (string, error) {
	s := subject{clientID: r.Client, scopes: r.Scopes, grant: newID()}
	d := p.directory.Load()
	switch {
	case r.User != "":
		u, err := d.user(r.User)
		if err != nil {
			return "", err
		}
		s.setUser(u)
		s.authTime = time.Now()
		if len(s.scopes) == 0 {
			s.scopes = []string{"openid", "profile", "email"}
		}
	case r.Client != "":
		c, err := d.client(r.Client)
		if err != nil {
			return "", err
		}
		s.setClient(c)
		if len(s.scopes) == 0 {
			s.scopes = c.Scopes
		}
	default:
		return "", errors.New("identity: name a user or a client to issue a token for")
	}
	if s.clientID == "" {
		s.clientID = "mesh"
	}
	ttl := r.TTL
	switch {
	case ttl > maxTTL:
		return "", fmt.Errorf("identity: a token is valid for at most %v", maxTTL)
	case ttl <= 0:
		ttl = issuedTTL
	}
	return p.mint.accessToken(&s, ttl)
}

// Rotation is the outcome of [Provider.Rotate].
type Rotation struct {
	Key     string       `json:"key"`     // ID of the key that signs now
	Retired []RetiredKey `json:"retired"` // the others, the newest first
}

// RetiredKey signs no more and is still honoured.
type RetiredKey struct {
	Key   string    `json:"key"`
	Until time.Time `json:"until"` // its last token has expired by then
}

// Rotate makes a new key that signs from now on. Tokens of the others stay good
// until they expire.
func (p *Provider) Rotate() (Rotation, error) {
	set, err := p.mint.keys.rotate()
	if err != nil {
		return Rotation{}, err
	}
	r := Rotation{Key: set.Keys[0].KeyID, Retired: []RetiredKey{}}
	for _, k := range set.Keys[1:] {
		r.Retired = append(r.Retired, RetiredKey{Key: k.KeyID, Until: honouredUntil(set.Retired[k.KeyID])})
	}
	return r, nil
}

// endpoint is the address of one of the provider's paths.
func (p *Provider) endpoint(path string) string { return strings.TrimSuffix(p.issuer(), "/") + path }

// Handler serves the provider's endpoints and pages.
func (p *Provider) Handler() http.Handler {
	mux := http.NewServeMux()
	crossOrigin := http.NewCrossOriginProtection()
	page := func(pattern string, h http.HandlerFunc) { mux.Handle(p.path+pattern, p.framed(h)) }
	form := func(pattern string, h http.HandlerFunc) { mux.Handle(p.path+pattern, p.framed(crossOrigin.Handler(h))) }
	api := func(pattern string, h http.HandlerFunc) { mux.Handle(p.path+pattern, openToScripts(h)) }

	api("/.well-known/openid-configuration", get(p.discovery))
	api("/.well-known/oauth-authorization-server", get(p.discovery))
	api("/jwks", get(p.jwks))
	api("/token", post(p.token))
	api("/userinfo", p.userinfo)
	api("/introspect", post(p.introspect))
	api("/revoke", post(p.revoke))
	api("/device_authorization", post(p.deviceAuthorization))

	page("/authorize", p.authorize) // GET and POST, also from another site (OpenID Connect Core 3.1.2.1)
	form("/signin", post(p.signIn))
	page("/end_session", p.endSession)
	form("/signout", post(p.signOut))
	form("/device", p.devicePage)
	page("/style.css", get(p.style))
	page("/{$}", get(p.home))
	return p.hostChecked(mux)
}
