// Package devgateway is mesh's API gateway for development: it routes
// requests by an immutable table, checks who sends them, balances over
// healthy instances, and does the same, without the checks, for the links
// between services.
//
// The table, and the set of instances of each service, are swapped by one
// atomic pointer each. A request takes no lock and asks nobody: it sees one
// table and one set from beginning to end. Who the instances are, and what a
// token is worth, the gateway is told through [Gateway.SetInstances] and
// [TokenVerifier]; it knows neither the registry nor the identity provider.
//
// Instances that leave the set get no further request at once; those that
// they are still answering go on, and [Gateway.Drain] waits for them.
//
// What an HTTP/1.1 client sends is checked on the connection, before net/http
// reads it, which is laxer than RFC 9112 in places (a bare LF, equal duplicate
// lengths): wire.go.
package devgateway
