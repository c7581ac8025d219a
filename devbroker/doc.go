// Package devbroker is mesh's event broker for development: a NATS server
// with JetStream inside this process, with a user for each service.
//
// Its conventions are what the services rely on. A service that publishes
// has a stream of its own name with the subjects <service>.>; events of one
// Nats-Msg-Id within two minutes are stored once. A service that consumes has
// a durable pull consumer of its own name on the publisher's stream, shared
// by its instances: acknowledged explicitly, delivered again after 30
// seconds, at most five times. What then still fails, or was terminated, is
// copied into the stream of dead letters with the reason, and the rest flows
// on.
//
// An acknowledged event is on disk and synced, unless Config.Relaxed says
// otherwise: JetStream alone would acknowledge first and sync within two
// minutes.
package devbroker
