package devidentity

import (
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/oidc"
)

// User is somebody who can sign in.
type User struct {
	Name, Email string
	Roles       []string
	Claims      map[string]any // more of them, for tokens and userinfo; JSON values
}

// Client is a relying party. One without a secret is public: it has no
// client credentials and no introspection.
type Client struct {
	ID, Secret                  string
	RedirectURIs, Roles, Scopes []string
}

func (c *Client) public() bool { return c.Secret == "" }

// secretIs compares in constant time, whatever the lengths.
func (c *Client) secretIs(given string) bool {
	want, got := sha256.Sum256([]byte(c.Secret)), sha256.Sum256([]byte(given))
	return !c.public() && subtle.ConstantTimeCompare(want[:], got[:]) == 1
}

// directory is who there is. It never changes: an update makes another.
type directory struct {
	ordered []User
	users   map[string]*User
	clients map[string]*Client
}

func newDirectory(users []User, clients []Client) (*directory, error) {
	d := &directory{
		ordered: slices.Clone(users),
		users:   make(map[string]*User, len(users)),
		clients: make(map[string]*Client, len(clients)),
	}
	for i := range d.ordered {
		if err := d.addUser(&d.ordered[i]); err != nil {
			return nil, err
		}
	}
	for _, c := range clients {
		if err := d.addClient(&c); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func (d *directory) addUser(u *User) error {
	if err := plain("user", u.Name); err != nil {
		return err
	}
	if d.users[u.Name] != nil {
		return fmt.Errorf("identity: user %q is given twice", u.Name)
	}
	u.Roles = slices.Clone(u.Roles)
	for _, role := range u.Roles {
		if err := plain("role of user "+u.Name, role); err != nil {
			return err
		}
	}
	if err := checkClaims(u.Claims); err != nil {
		return fmt.Errorf("identity: user %q: %w", u.Name, err)
	}
	d.users[u.Name] = u
	return nil
}

func checkClaims(given map[string]any) error {
	for name, value := range given {
		if err := oidc.CheckClaim(name, value); err != nil {
			return err
		}
	}
	return oidc.CheckClaims(given)
}

func (d *directory) addClient(c *Client) error {
	if err := plain("client", c.ID); err != nil {
		return err
	}
	if d.clients[c.ID] != nil {
		return fmt.Errorf("identity: client %q is given twice", c.ID)
	}
	for _, uri := range c.RedirectURIs {
		if err := oidc.CheckRedirectURI(uri); err != nil {
			return fmt.Errorf("identity: client %q: %w", c.ID, err)
		}
	}
	d.clients[c.ID] = c
	return nil
}

// plain refuses names that could not travel unchanged in a header: they end
// up in X-Forwarded-User and, joined by commas, X-Forwarded-Groups.
func plain(what, name string) error {
	if !oidc.PlainName(name) {
		return fmt.Errorf("identity: the %s %q must have 1 to %d letters and no space, comma or control character", what, name, oidc.MostName)
	}
	return nil
}

func (d *directory) user(name string) (*User, error) {
	if u, ok := d.users[name]; ok {
		return u, nil
	}
	return nil, unknown("user", name, d.users)
}

func (d *directory) client(id string) (*Client, error) {
	if c, ok := d.clients[id]; ok {
		return c, nil
	}
	return nil, unknown("client", id, d.clients)
}

func unknown[V any](what, name string, known map[string]V) error {
	if len(known) == 0 {
		return fmt.Errorf("identity: there is no %s %q, and none at all: add it under identity in mesh.yaml", what, name)
	}
	return fmt.Errorf("identity: there is no %s %q; there are: %s", what, name, strings.Join(slices.Sorted(maps.Keys(known)), ", "))
}
