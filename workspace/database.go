package workspace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ebef7166/mesh/manifest"
)

// databases gives every service a database that no other service can read: a
// file for SQLite; for PostgreSQL a schema and a login on a server that runs
// already.
type databases struct {
	state *State

	mu    sync.Mutex
	ready map[login]string // URLs that have been made; PostgreSQL only
}

// login is what is made once: the role and the schema of one name on a server.
type login struct{ server, role string }

// loginOf names the role and the schema of a service: with the name of its
// workspace, as many may share a server, and apart from it for a copy that has a
// state folder of its own.
func loginOf(s *manifest.Service, owner, state string) login {
	l := login{s.Database.URL, owner + "_" + s.Name}
	if copied := filepath.Base(state); copied != StateDir {
		l.role += "_" + copied
	}
	return l
}

// DropDatabases removes what a workspace has on PostgreSQL servers: schemas with
// all they hold, and roles. SQLite's files lie in the state folder.
func DropDatabases(ctx context.Context, m *manifest.Workspace, state string) error {
	of := State{Dir: state}
	if err := of.read(); err != nil {
		return err
	}
	var failed []error
	for _, s := range m.Services {
		if s.Database != nil && s.Database.Engine == "postgres" && s.Database.URL != "" {
			failed = append(failed, loginOf(s, of.owner(m.Name), state).drop(ctx))
		}
	}
	return errors.Join(failed...)
}

func (l login) drop(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, l.server)
	if err != nil {
		return fmt.Errorf("PostgreSQL: remove %s: %w", l.role, explainPostgres(err))
	}
	defer conn.Close(ctx)
	var exists bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)", l.role).Scan(&exists)
	if err == nil && exists {
		name := pgx.Identifier{l.role}.Sanitize()
		_, err = conn.Exec(ctx, "DROP SCHEMA IF EXISTS "+name+" CASCADE; DROP OWNED BY "+name+"; DROP ROLE "+name)
	}
	if err != nil {
		return fmt.Errorf("PostgreSQL: remove %s: %w", l.role, explainPostgres(err))
	}
	return nil
}

func newDatabases(state *State) *databases {
	return &databases{state: state, ready: map[login]string{}}
}

// url is the DATABASE_URL of a service. For PostgreSQL it makes the schema and
// the login the first time, which may take as long as the server does, at most
// ten seconds.
func (d *databases) url(m *manifest.Workspace, s *manifest.Service) (string, error) {
	if s.Database.Engine == "sqlite" {
		return d.sqlite(s.Name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	want := loginOf(s, d.state.owner(m.Name), d.state.Dir)
	if want.server == "" {
		return "", fmt.Errorf("it wants a PostgreSQL database, and no server is named: set databases.postgres.url in %s", manifest.WorkspaceFile)
	}
	if d.ready[want] == "" {
		if err := d.state.Save(); err != nil { // whose it is, before it is there
			return "", err
		}
		u, err := d.postgres(want, s.Name)
		if err != nil {
			return "", err
		}
		d.ready[want] = u
	}
	return d.ready[want], nil
}

func (d *databases) sqlite(service string) (string, error) {
	dir := d.state.Path("data", service)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.ToSlash(filepath.Join(dir, service+".db"))
	if !strings.HasPrefix(file, "/") {
		file = "/" + file // C:/…
	}
	return (&url.URL{Scheme: "sqlite", Path: file}).String(), nil // escaped: a folder may hold blanks
}

// postgres makes a role and a schema of its name that only the role may use, and
// returns a URL that logs in as the role, with the schema as its search path.
func (d *databases) postgres(want login, service string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // bounds the start of one service
	defer cancel()
	u, err := url.Parse(want.server)
	if err != nil {
		return "", errors.New("databases.postgres.url is no URL; write it as postgres://user:password@host:port/name")
	}
	conn, err := pgx.Connect(ctx, want.server)
	if err != nil {
		return "", fmt.Errorf("PostgreSQL at %s: %w", u.Host, explainPostgres(err))
	}
	defer conn.Close(ctx)
	password := d.state.Secret("postgres/" + service)
	name := pgx.Identifier{want.role}.Sanitize()
	for _, statement := range []string{
		"DO $$ BEGIN CREATE ROLE " + name + " LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
		"ALTER ROLE " + name + " LOGIN PASSWORD '" + password + "'", // letters and digits
		"GRANT " + name + " TO CURRENT_USER",
		"CREATE SCHEMA IF NOT EXISTS " + name + " AUTHORIZATION " + name,
		"REVOKE ALL ON SCHEMA " + name + " FROM PUBLIC",
		"ALTER ROLE " + name + " SET search_path = " + name,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", fmt.Errorf("PostgreSQL at %s: %w", u.Host, explainPostgres(err))
		}
	}
	u.User = url.UserPassword(want.role, password)
	return u.String(), nil
}

// explainPostgres is what went wrong and what to do about it, in one line and
// without the connection string that the driver's errors hold.
func explainPostgres(err error) error {
	var refusal *pgconn.PgError
	var number syscall.Errno
	var lookup *net.DNSError
	switch {
	case errors.As(err, &refusal):
		return errors.New(refusal.Message + hint(refusal.Code))
	case errors.As(err, &number):
		return fmt.Errorf("%w; is the server running?", number)
	case errors.As(err, &lookup):
		return lookup
	case errors.Is(err, context.DeadlineExceeded):
		return errors.New("no answer; is the server running?")
	}
	return err
}

// hint is what to do about a refusal of the server's, by its code.
func hint(code string) string {
	switch code {
	case "28P01", "28000": // password, authorization
		return "; mend the user and the password in databases.postgres.url"
	case "42501": // privilege
		return "; the user in databases.postgres.url has to be allowed to make roles and schemas"
	}
	return ""
}
