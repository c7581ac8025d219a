package devidentity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"

	jose "github.com/go-jose/go-jose/v4"

	"github.com/ebef7166/mesh/internal/atomicfile"
)

// PublicKey verifies signatures of one algorithm, and of no other: the
// algorithm belongs to the key, a token cannot choose (RFC 8725 section 3.1).
type PublicKey struct {
	Algorithm jose.SignatureAlgorithm
	Key       crypto.PublicKey
}

// KeySource finds the key that a token names.
type KeySource interface {
	Key(ctx context.Context, kid string) (PublicKey, error)
}

var errNoKey = errors.New("the key is not one of the issuer's")

// maxKeys bounds the keys that are honoured at one time: rotating more often is
// refused until the oldest has had its time.
const maxKeys = 10

// keyRing is the workspace's keys. Who verifies or signs takes no lock.
type keyRing struct {
	file string

	rotating sync.Mutex
	current  atomic.Pointer[keySet]
}

// keySet is the keys at one time; it never changes.
type keySet struct {
	Keys    []jose.JSONWebKey    `json:"keys"`              // the first one signs
	Retired map[string]time.Time `json:"retired,omitempty"` // by key ID: when the others signed last

	access, id jose.Signer // with the first key, for tokens of each type
}

// sign makes the signers, which differ by the type that tokens say, so that one
// of one kind is never taken for the other.
func (s *keySet) sign() (err error) {
	key := jose.SigningKey{Algorithm: jose.ES256, Key: s.Keys[0]}
	if s.access, err = jose.NewSigner(key, (&jose.SignerOptions{}).WithType("at+jwt")); err == nil {
		s.id, err = jose.NewSigner(key, (&jose.SignerOptions{}).WithType("JWT"))
	}
	if err != nil {
		return fmt.Errorf("identity: %w", err)
	}
	return nil
}

// loadKeys reads the keys, or makes one when there is no file yet. A file
// that cannot be read or understood is an error, never a new key: tokens in
// use would turn invalid, and nobody would know why.
func loadKeys(file string) (*keyRing, error) {
	r := &keyRing{file: file}
	body, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		_, err := r.rotate()
		return r, err
	}
	if err != nil {
		return nil, fmt.Errorf("identity: reading keys: %w", err)
	}
	if err := ownersOnly(file); err != nil {
		return nil, err
	}
	var set keySet
	if err := json.Unmarshal(body, &set); err != nil {
		return nil, fmt.Errorf("identity: %s does not hold keys (remove it to start with new ones): %w", file, err)
	}
	for _, k := range set.Keys {
		if _, ok := k.Key.(*ecdsa.PrivateKey); !ok || !k.Valid() || k.Algorithm != string(jose.ES256) {
			return nil, fmt.Errorf("identity: %s holds key %q, which is not an ES256 private key", file, k.KeyID)
		}
	}
	if len(set.Keys) == 0 {
		return nil, fmt.Errorf("identity: %s holds no key (remove it to start with a new one)", file)
	}
	r.current.Store(&set)
	return r, set.sign()
}

// rotate makes a new key, which signs from then on. The others are honoured until
// the last token that they signed has expired; those whose time is over are
// dropped. On an error nothing changes.
func (r *keyRing) rotate() (*keySet, error) {
	r.rotating.Lock()
	defer r.rotating.Unlock()
	key, err := newKey()
	if err != nil {
		return nil, err
	}
	next, err := r.current.Load().after(key, time.Now().Truncate(time.Second))
	if err != nil {
		return nil, err
	}
	if err := next.sign(); err != nil {
		return nil, err
	}
	body, err := json.MarshalIndent(next, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("identity: writing a key: %w", err)
	}
	if err := atomicfile.Write(r.file, body, 0o600); err != nil {
		return nil, fmt.Errorf("identity: writing keys: %w", err)
	}
	r.current.Store(next)
	return next, nil
}

// after is the set in which a new key signs. A nil set is empty.
func (s *keySet) after(key jose.JSONWebKey, now time.Time) (*keySet, error) {
	next := &keySet{Keys: []jose.JSONWebKey{key}, Retired: map[string]time.Time{}}
	if s == nil {
		return next, nil
	}
	for _, k := range s.Keys {
		retired, old := s.Retired[k.KeyID]
		if !old {
			retired = now
		}
		if now.Before(honouredUntil(retired)) {
			next.Keys, next.Retired[k.KeyID] = append(next.Keys, k), retired
		}
	}
	if len(next.Keys) > maxKeys {
		oldest := next.Retired[next.Keys[maxKeys].KeyID]
		return nil, fmt.Errorf("identity: %d keys are honoured already, until their tokens expire; another can be made at %s", maxKeys, honouredUntil(oldest).Format(time.RFC3339))
	}
	return next, nil
}

// honouredUntil is when the last token of a key has expired that signed last at
// a time.
func honouredUntil(retired time.Time) time.Time { return retired.Add(maxTTL + leeway) }

func (s *keySet) honoured(kid string, now time.Time) bool {
	retired, old := s.Retired[kid]
	return !old || now.Before(honouredUntil(retired))
}

func newKey() (jose.JSONWebKey, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("identity: making a key: %w", err)
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil {
		return jose.JSONWebKey{}, fmt.Errorf("identity: naming a key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	return key, nil
}

// public is what relying parties may see.
func (r *keyRing) public() jose.JSONWebKeySet {
	var public jose.JSONWebKeySet
	set, now := r.current.Load(), time.Now()
	for _, k := range set.Keys {
		if set.honoured(k.KeyID, now) {
			public.Keys = append(public.Keys, k.Public())
		}
	}
	return public
}

// Key implements [KeySource].
func (r *keyRing) Key(_ context.Context, kid string) (PublicKey, error) { return r.find(kid) }

func (r *keyRing) find(kid string) (PublicKey, error) {
	set := r.current.Load()
	for _, k := range set.Keys {
		if k.KeyID == kid && set.honoured(kid, time.Now()) {
			return PublicKey{jose.SignatureAlgorithm(k.Algorithm), k.Public().Key}, nil
		}
	}
	return PublicKey{}, errNoKey
}
