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

// keyRing is the workspace's signing keys; the first one signs.
type keyRing struct{ keys []jose.JSONWebKey }

// loadKeys reads the keys, or makes one when there is no file yet. A file
// that cannot be read or understood is an error, never a new key: tokens in
// use would turn invalid, and nobody would know why.
func loadKeys(file string) (*keyRing, error) {
	body, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) {
		return makeKeys(file)
	}
	if err != nil {
		return nil, fmt.Errorf("identity: reading keys: %w", err)
	}
	if err := ownersOnly(file); err != nil {
		return nil, err
	}
	var set jose.JSONWebKeySet
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
	return &keyRing{set.Keys}, nil
}

func makeKeys(file string) (*keyRing, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("identity: making a key: %w", err)
	}
	key := jose.JSONWebKey{Key: private, Algorithm: string(jose.ES256), Use: "sig"}
	thumbprint, err := key.Thumbprint(crypto.SHA256) // RFC 7638
	if err != nil {
		return nil, fmt.Errorf("identity: naming a key: %w", err)
	}
	key.KeyID = base64.RawURLEncoding.EncodeToString(thumbprint)
	body, err := json.MarshalIndent(jose.JSONWebKeySet{Keys: []jose.JSONWebKey{key}}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("identity: writing a key: %w", err)
	}
	if err := atomicfile.Write(file, body, 0o600); err != nil {
		return nil, fmt.Errorf("identity: writing keys: %w", err)
	}
	return &keyRing{[]jose.JSONWebKey{key}}, nil
}

func (r *keyRing) signing() jose.JSONWebKey { return r.keys[0] }

// public is what relying parties may see.
func (r *keyRing) public() jose.JSONWebKeySet {
	set := jose.JSONWebKeySet{Keys: make([]jose.JSONWebKey, 0, len(r.keys))}
	for _, k := range r.keys {
		set.Keys = append(set.Keys, k.Public())
	}
	return set
}

// Key implements [KeySource].
func (r *keyRing) Key(_ context.Context, kid string) (PublicKey, error) { return r.find(kid) }

func (r *keyRing) find(kid string) (PublicKey, error) {
	for _, k := range r.keys {
		if k.KeyID == kid {
			return PublicKey{jose.SignatureAlgorithm(k.Algorithm), k.Public().Key}, nil
		}
	}
	return PublicKey{}, errNoKey
}
