package scaffold

import (
	"fmt"
	"go/token"
	"slices"
	"strings"

	"github.com/ebef7166/mesh/internal/lazyregexp"
)

var (
	nameRE  = lazyregexp.New(`^[a-z][a-z0-9-]{0,39}$`)
	eventRE = lazyregexp.New(`^[a-z][a-z0-9-]{0,39}(\.[a-z][a-z0-9_]{0,39}){1,4}$`)
	moduRE  = lazyregexp.New(`^[a-z0-9][a-z0-9.-]*(/[A-Za-z0-9][A-Za-z0-9._~-]*)*$`)
)

// Names that file systems or Go's tools treat specially.
var reserved = []string{
	"con", "prn", "aux", "nul", "internal", "vendor", "testdata", "contracts", "mesh",
	"com1", "com2", "com3", "com4", "com5", "com6", "com7", "com8", "com9",
	"lpt1", "lpt2", "lpt3", "lpt4", "lpt5", "lpt6", "lpt7", "lpt8", "lpt9",
}

// CheckName reports why name cannot be that of a service or workspace.
func CheckName(name string) error {
	switch {
	case !nameRE().MatchString(name):
		return fmt.Errorf("%s is not a usable name: a name is 1 to 40 lower-case letters, digits and dashes, and begins with a letter", quote(name))
	case slices.Contains(reserved, name):
		return fmt.Errorf("%q is reserved: file systems or Go's tools treat it specially", name)
	}
	return nil
}

// quote shows a name that somebody else chose, and not all of a very long one.
func quote(name string) string {
	if len(name) > 60 {
		return fmt.Sprintf("%q…", name[:60])
	}
	return fmt.Sprintf("%q", name)
}

func checkModule(prefix string) error {
	if !moduRE().MatchString(prefix) || strings.Contains(prefix, "..") || len(prefix) > 200 {
		return &ModuleError{prefix}
	}
	return nil
}

// ModuleError says that modules' paths cannot begin so.
type ModuleError struct{ Prefix string }

func (e *ModuleError) Error() string {
	return quote(e.Prefix) + " is not a usable module prefix: it looks like example.com/shop"
}

// camel turns order-items or checked_out into OrderItems or CheckedOut.
func camel(name string) string {
	var b strings.Builder
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' || r == '.' }) {
		b.WriteString(strings.ToUpper(part[:1]) + part[1:])
	}
	return b.String()
}

// snake turns order-items into order_items.
func snake(name string) string { return strings.ReplaceAll(name, "-", "_") }

// squash turns order-items into orderitems, as Go likes its packages called.
func squash(name string) string { return strings.ReplaceAll(name, "-", "") }

// Identifiers of the templates that a package of the same name would shadow,
// or be shadowed by.
var taken = []string{
	"api", "auth", "base64", "clients", "cmp", "connect", "consume", "context", "created", "embed", "errgroup", "errors",
	"events", "fmt", "fs", "http", "item", "items", "json", "main", "message", "metric", "migrations", "nats", "net", "oidc",
	"os", "otel", "path", "proto", "rand", "rpc", "rpc_test", "signal", "slices", "slog", "sql", "store", "strconv", "strings",
	"sync", "syscall", "telemetry", "test", "testing", "time", "trace", "url", "jetstream", "propagation", "protojson",
	"any", "bool", "byte", "error", "false", "int", "int64", "iota", "len", "make", "new", "nil", "panic", "recover", "string",
	"true", "uint64", "append", "cap", "close", "copy", "delete", "max", "min", "print", "println", "clear", "complex", "real",
	"imag", "rune", "init", "calls", "cfg", "ctx", "db", "err", "event", "g", "h", "js", "mux", "nc", "owner", "name", "now",
	"outbox", "row", "rows", "tx", "tell", "id", "s", "f", "t", "w", "r", "e", "c", "p", "v",
}

// domainPackage names the package of a service's domain.
func domainPackage(name string) string {
	pkg := squash(name)
	if token.IsKeyword(pkg) || slices.Contains(taken, pkg) || strings.HasSuffix(pkg, "test") {
		return pkg + "domain"
	}
	return pkg
}

// ident names a variable of Go after a service.
func ident(name string) string {
	c := camel(name)
	v := strings.ToLower(c[:1]) + c[1:]
	if token.IsKeyword(v) || slices.Contains(taken, v) {
		return v + "Service"
	}
	return v
}

// event is NAME.EVENT taken apart.
type event struct {
	Name    string // cart.checked_out
	Service string // cart
	Type    string // CheckedOut, its message
	Func    string // cartCheckedOut, what handles it
	Package string // cart, as the contract's Go package begins
	Typed   bool   // whether the contract of Service has the message
}

// parseEvent takes apart an event called s; a bare one belongs to owner.
func parseEvent(s, owner string) (event, error) {
	if owner != "" && !strings.Contains(s, ".") {
		s = owner + "." + s
	}
	if !eventRE().MatchString(s) {
		return event{}, fmt.Errorf("%s is not a usable event: an event is called SERVICE.EVENT, such as cart.checked_out", quote(s))
	}
	service, rest, _ := strings.Cut(s, ".")
	typ := camel(rest)
	if slices.Contains([]string{"Item", "CreateItemRequest", "CreateItemResponse", "GetItemRequest", "GetItemResponse", "ListItemsRequest", "ListItemsResponse", "Event", "Connect", "Publisher", "NewPublisher", "Outbox", "NewOutbox", "Record", "Handler", "Once", "Consumer", "NewConsumer"}, typ) {
		typ += "Event"
	}
	fn := camel(s)
	return event{s, service, typ, strings.ToLower(fn[:1]) + fn[1:], squash(service), false}, nil
}
