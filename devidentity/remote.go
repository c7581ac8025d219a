package devidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"
)

// How an issuer's keys are fetched.
const (
	fetchTimeout  = 5 * time.Second
	fetchPause    = 10 * time.Second // between two fetches, whatever tokens ask for
	failedPause   = time.Second      // after one that failed
	keysFresh     = 15 * time.Minute // after that they are fetched again when one is used
	keysHonoured  = time.Hour        // without the issuer answering
	maxRemoteBody = 1 << 20
	maxRemoteKeys = 100
)

// ErrUnavailable says that a token could not be looked at, for want of the issuer's
// keys: it may be good.
var ErrUnavailable = errors.New("the issuer's keys cannot be had now")

// Remote is an OpenID Connect provider of one's own: its keys are fetched from
// it (OpenID Connect Discovery section 4). Its methods may be called from many
// goroutines at once.
type Remote struct {
	issuer string
	client *http.Client

	keys atomic.Pointer[remoteKeys]

	fetching sync.Mutex // held while the issuer is asked; others wait, at most fetchTimeout
	asked    time.Time
	failed   atomic.Pointer[error] // of the last fetch
}

// remoteKeys is a set of keys by ID, and when it was fetched.
type remoteKeys struct {
	byID map[string]PublicKey
	at   time.Time
}

// NewRemote returns an issuer that is asked when the first token comes. The
// issuer is the URL exactly as its tokens say it: https, or http on this machine.
func NewRemote(issuer string) *Remote {
	return &Remote{issuer: issuer, client: &http.Client{
		Timeout: fetchTimeout,
		// A key is taken from where the issuer says that its keys are, and from
		// nowhere else.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// Verifier returns a verifier of the issuer's access tokens for an audience.
// Their roles are in the claim of that name, which may lead through objects by
// dots ("realm_access.roles"); "" is roles.
// They may be of type JWT, as those of most providers are (RFC 9068 came late),
// but they may not be ID tokens.
func (r *Remote) Verifier(audience, rolesClaim string) *Verifier {
	v := NewVerifier(r.issuer, audience, r)
	v.anyType, v.rolesClaim = true, rolesClaim
	return v
}

// Err says why the issuer's keys could not be fetched the last time; nil: they
// could, or nobody has asked.
func (r *Remote) Err() error {
	if err := r.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Key implements [KeySource].
func (r *Remote) Key(ctx context.Context, kid string) (PublicKey, error) {
	set := r.keys.Load()
	if key, known := set.find(kid); known && time.Since(set.at) < keysFresh {
		return key, nil
	}
	err := r.refresh(ctx, set)
	set = r.keys.Load()
	if key, known := set.find(kid); known && time.Since(set.at) < keysHonoured {
		return key, nil
	}
	if err != nil {
		return PublicKey{}, err
	}
	return PublicKey{}, errNoKey
}

func (k *remoteKeys) find(kid string) (PublicKey, bool) {
	if k == nil {
		return PublicKey{}, false
	}
	key, known := k.byID[kid]
	return key, known
}

// refresh fetches the keys, unless somebody has since seen was read, or a moment
// ago: tokens with made-up key IDs are no reason to ask more often.
func (r *Remote) refresh(ctx context.Context, seen *remoteKeys) error {
	r.fetching.Lock()
	defer r.fetching.Unlock()
	if r.keys.Load() != seen {
		return nil
	}
	pause := fetchPause
	if r.Err() != nil {
		pause = failedPause
	}
	if !r.asked.IsZero() && time.Since(r.asked) < pause {
		return r.Err()
	}
	r.asked = time.Now()
	// Whoever asked may leave: the next one needs the keys too.
	keys, err := r.fetch(context.WithoutCancel(ctx))
	if err != nil {
		err = fmt.Errorf("%w: those of %s: %w", ErrUnavailable, r.issuer, err)
		r.failed.Store(&err)
		return err
	}
	r.failed.Store(nil)
	r.keys.Store(&remoteKeys{keys, time.Now()})
	return nil
}

func (r *Remote) fetch(ctx context.Context) (map[string]PublicKey, error) {
	var about struct {
		Issuer string `json:"issuer"`
		JWKS   string `json:"jwks_uri"`
	}
	if err := r.get(ctx, strings.TrimSuffix(r.issuer, "/")+"/.well-known/openid-configuration", &about); err != nil {
		return nil, err
	}
	if about.Issuer != r.issuer {
		return nil, fmt.Errorf("it calls itself %q: identity.issuer must be the same, to the letter", about.Issuer)
	}
	if about.JWKS == "" {
		return nil, errors.New("it does not say where its keys are (jwks_uri)")
	}
	if !r.trustworthy(about.JWKS) {
		return nil, fmt.Errorf("its jwks_uri %q is neither https nor the issuer's own address", about.JWKS)
	}
	var set jose.JSONWebKeySet
	if err := r.get(ctx, about.JWKS, &set); err != nil {
		return nil, err
	}
	return usable(set)
}

// trustworthy reports whether nobody on the way can answer for an address: it is
// https, or http on the issuer's own host, which is this machine.
func (r *Remote) trustworthy(address string) bool {
	u, err := url.Parse(address)
	issuer, e := url.Parse(r.issuer)
	return err == nil && e == nil && (u.Scheme == "https" || u.Scheme == "http" && issuer.Scheme == "http" && u.Host == issuer.Host)
}

func (r *Remote) get(ctx context.Context, address string, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	resp, err := r.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", address, resp.Status)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRemoteBody))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, into); err != nil {
		return fmt.Errorf("%s: %w", address, err)
	}
	return nil
}

// usable are the keys that verify signatures, each with its one algorithm. A key
// without an ID is the one that tokens without one mean.
func usable(set jose.JSONWebKeySet) (map[string]PublicKey, error) {
	if len(set.Keys) > maxRemoteKeys {
		return nil, fmt.Errorf("it has more than %d keys", maxRemoteKeys)
	}
	keys := map[string]PublicKey{}
	for _, k := range set.Keys {
		algorithm := algorithmOf(k)
		if algorithm == "" || k.Use == "enc" || !k.Valid() || !k.IsPublic() {
			continue
		}
		if _, twice := keys[k.KeyID]; twice {
			return nil, fmt.Errorf("two of its keys are called %q", k.KeyID)
		}
		keys[k.KeyID] = PublicKey{algorithm, k.Key}
	}
	if len(keys) == 0 {
		return nil, errors.New("it has no key that could have signed a token")
	}
	return keys, nil
}

// algorithmOf is the only algorithm that a key is used with: what it says, where
// that fits the key, or what such a key is usually used with; "" for none.
func algorithmOf(k jose.JSONWebKey) jose.SignatureAlgorithm {
	fit := algorithmsFor(k.Key)
	if k.Algorithm == "" && len(fit) > 0 {
		return fit[0]
	}
	if said := jose.SignatureAlgorithm(k.Algorithm); slices.Contains(fit, said) {
		return said
	}
	return ""
}

func algorithmsFor(key crypto.PublicKey) []jose.SignatureAlgorithm {
	switch key := key.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() >= 2048 { // RFC 7518 section 3.3
			return []jose.SignatureAlgorithm{jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512}
		}
	case *ecdsa.PublicKey:
		switch key.Curve.Params().BitSize {
		case 256:
			return []jose.SignatureAlgorithm{jose.ES256}
		case 384:
			return []jose.SignatureAlgorithm{jose.ES384}
		case 521:
			return []jose.SignatureAlgorithm{jose.ES512}
		}
	case ed25519.PublicKey:
		return []jose.SignatureAlgorithm{jose.EdDSA}
	}
	return nil
}
