package workspace

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/ebef7166/mesh/manifest"
)

// databases gives every service a database that no other service can read: a
// file for SQLite; for PostgreSQL a schema and a login on a server that runs
// already.
type databases struct {
	state     *State
	workspace string // names roles and schemas apart on a server that many share
	server    string // URL of the workspace's PostgreSQL server; "" for none

	mu    sync.Mutex
	ready map[string]string // URLs by service; PostgreSQL only
}

func newDatabases(state *State, m *manifest.Workspace) *databases {
	d := &databases{state: state, workspace: m.Name, ready: map[string]string{}}
	if m.Databases.Postgres != nil {
		d.server = m.Databases.Postgres.URL
	}
	return d
}

// url is the DATABASE_URL of a service. For PostgreSQL it makes the schema and
// the login the first time, which may take as long as the server does, at most
// ten seconds.
func (d *databases) url(s *manifest.Service) (string, error) {
	if s.Database.Engine == "sqlite" {
		return d.sqlite(s.Name)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if u := d.ready[s.Name]; u != "" {
		return u, nil
	}
	server := s.Database.URL
	if server == "" {
		server = d.server
	}
	if server == "" {
		return "", fmt.Errorf("%s wants a PostgreSQL database, and no server is named: set databases.postgres.url in %s", s.Name, manifest.WorkspaceFile)
	}
	u, err := d.postgres(server, s.Name)
	if err != nil {
		return "", fmt.Errorf("database of %s: %w", s.Name, err)
	}
	d.ready[s.Name] = u
	return u, nil
}

func (d *databases) sqlite(service string) (string, error) {
	dir := d.state.Path("data", service)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	file := filepath.ToSlash(filepath.Join(dir, service+".db"))
	return (&url.URL{Scheme: "sqlite", Path: file}).String(), nil // escaped: a folder may hold blanks
}

// postgres makes a role and a schema that only the role may use, both called
// WORKSPACE_SERVICE, and returns a URL that logs in as the role, with the schema as
// its search path.
func (d *databases) postgres(server, service string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second) // bounds the start of one service
	defer cancel()
	u, err := url.Parse(server)
	if err != nil {
		return "", errors.New("databases.postgres.url is no URL; write it as postgres://user:password@host:port/name")
	}
	conn, err := pgx.Connect(ctx, server)
	if err != nil {
		return "", fmt.Errorf("PostgreSQL at %s: %w", u.Host, cause(err))
	}
	defer conn.Close(ctx)
	password, err := d.state.Secret("postgres/" + service)
	if err != nil {
		return "", err
	}
	role := d.workspace + "_" + service
	name := pgx.Identifier{role}.Sanitize()
	for _, statement := range []string{
		"DO $$ BEGIN CREATE ROLE " + name + " LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
		"ALTER ROLE " + name + " LOGIN PASSWORD '" + password + "'", // rand.Text: letters and digits
		"GRANT " + name + " TO CURRENT_USER",
		"CREATE SCHEMA IF NOT EXISTS " + name + " AUTHORIZATION " + name,
		"REVOKE ALL ON SCHEMA " + name + " FROM PUBLIC",
		"ALTER ROLE " + name + " SET search_path = " + name,
	} {
		if _, err := conn.Exec(ctx, statement); err != nil {
			return "", fmt.Errorf("PostgreSQL at %s: %w", u.Host, cause(err))
		}
	}
	u.User = url.UserPassword(role, password)
	return u.String(), nil
}

// cause is what the server said, without the connection string around it.
func cause(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return fmt.Errorf("%s (%s)", pg.Message, pg.Code)
	}
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return connect.Unwrap()
	}
	return err
}
