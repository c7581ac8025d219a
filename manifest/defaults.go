package manifest

import (
	"cmp"
	"reflect"
	"slices"
	"time"
)

// Values that hold where a manifest says nothing.
const (
	DefaultGateway       = "127.0.0.1:8080"
	DefaultProbeInterval = 2 * time.Second
	DefaultProbeTimeout  = time.Second
	DefaultThreshold     = 2
	DefaultGrace         = 10 * time.Second
	DefaultDrain         = 5 * time.Second
	DefaultBackoff       = 100 * time.Millisecond
	DefaultMaxBackoff    = 10 * time.Second
	DefaultStartLimit    = 5
	DefaultStartWindow   = 10 * time.Second
	DefaultRatePeriod    = time.Second
	DefaultRetries       = 2
	DefaultRetryBackoff  = 25 * time.Millisecond
	DefaultFailures      = 5
	DefaultEjection      = 5 * time.Second
	DefaultMaxEjection   = time.Minute
)

// or takes from fallback, and then from what holds everywhere, what r leaves open.
// Both may be nil.
func (r *Retries) or(fallback *Retries) *Retries {
	full, attempts := orNew(r), DefaultRetries
	fillStruct(full, orNew(fallback))
	fillStruct(full, &Retries{Attempts: &attempts, Codes: []int{502, 503}, Backoff: Duration(DefaultRetryBackoff)})
	return full
}

// or takes from fallback what c leaves open. Both may be nil.
func (c *CORS) or(fallback *CORS) *CORS {
	if c == nil {
		return fallback
	}
	full := orNew(c)
	fillStruct(full, orNew(fallback))
	return full
}

// fillStruct sets every field that is zero in to from the same field of from;
// maps are merged, to's keys winning. Both are pointers to one struct type.
func fillStruct(to, from any) {
	mergeStruct(reflect.ValueOf(to).Elem(), reflect.ValueOf(from).Elem(), false)
}

// overlayStruct lays over onto base: what over sets wins; maps and structs are
// merged.
func overlayStruct(base, over any) {
	mergeStruct(reflect.ValueOf(base).Elem(), reflect.ValueOf(over).Elem(), true)
}

func mergeStruct(to, from reflect.Value, fromWins bool) {
	for i := range to.NumField() {
		if to.Type().Field(i).IsExported() {
			mergeValue(to.Field(i), from.Field(i), fromWins)
		}
	}
}

func mergeValue(to, from reflect.Value, fromWins bool) {
	switch {
	case from.IsZero():
	case to.IsZero():
		to.Set(from)
	case to.Kind() == reflect.Struct && to.Type() != reflect.TypeFor[Command]():
		mergeStruct(to, from, fromWins)
	case to.Kind() == reflect.Map:
		mergeMap(to, from, fromWins)
	case fromWins && to.Type() == reflect.TypeFor[*Service](): // the same, to be laid over
		merged := reflect.New(to.Type().Elem())
		merged.Elem().Set(to.Elem())
		mergeStruct(merged.Elem(), from.Elem(), fromWins)
		to.Set(merged)
	case fromWins:
		to.Set(from)
	}
}

// mergeMap makes a new map, since to may be shared.
func mergeMap(to, from reflect.Value, fromWins bool) {
	merged := reflect.MakeMap(to.Type())
	first, second := from, to
	if fromWins {
		first, second = to, from
	}
	for _, m := range []reflect.Value{first, second} {
		for _, key := range m.MapKeys() {
			merged.SetMapIndex(key, mergedElement(merged.MapIndex(key), m.MapIndex(key), fromWins))
		}
	}
	to.Set(merged)
}

// mergedElement is what is in a merged map: a service that stands in both is laid
// over, anything else replaced.
func mergedElement(before, after reflect.Value, fromWins bool) reflect.Value {
	if !before.IsValid() || before.Type() != reflect.TypeFor[*Service]() || before.IsNil() {
		return after
	}
	element := reflect.New(before.Type()).Elem()
	element.Set(before)
	mergeValue(element, after, fromWins)
	return element
}

// applyDefaults makes the rest explicit, so that nobody else needs to know what
// holds where the manifest is silent.
func (s *Service) applyDefaults(gateway Gateway, servers Databases) {
	if s.Kind == "" {
		s.Kind = KindService
	}
	if s.Protocol == "" {
		s.Protocol = "auto"
	}
	if s.Reload == "" {
		s.Reload = "swap"
	}
	s.Restart = orNew(s.Restart)
	s.Stop = orNew(s.Stop)
	if s.Restart.Policy == "" {
		s.Restart.Policy = "always"
		if s.Kind == KindTask {
			s.Restart.Policy = "never"
		}
	}
	if s.Database != nil && s.Database.Engine == "postgres" && servers.Postgres != nil {
		s.Database = orNew(s.Database) // which defaults may share
		s.Database.URL = cmp.Or(s.Database.URL, servers.Postgres.URL)
	}
	s.Routes = slices.Clone(s.Routes) // as these
	for i := range s.Routes {
		s.Routes[i].applyDefaults(gateway, s.Dir)
		s.Routes[i].Position = s.source.position(s.path("routes", i))
	}
}

// applyDefaults fills a route from the gateway's; dir is where its files are.
func (r *Route) applyDefaults(gateway Gateway, dir string) {
	r.Auth = cmp.Or(r.Auth, gateway.Auth, AuthRequired)
	if r.RateLimit == nil {
		r.RateLimit = gateway.RateLimit
	}
	r.CORS = r.CORS.or(gateway.CORS)
	r.Retries = r.Retries.or(gateway.Retries)
	if r.Static != "" {
		r.Static = absolute(dir, r.Static)
	}
}

// applyDefaults fills the workspace's own routes.
func (g *Gateway) applyDefaults(src *source, dir string) {
	for i := range g.Routes {
		g.Routes[i].applyDefaults(*g, dir)
		g.Routes[i].Position = src.position([]any{"gateway", "routes", i})
	}
}

// orNew copies what defaults may share, or makes a new one.
func orNew[T any](p *T) *T {
	if p == nil {
		return new(T)
	}
	copied := *p
	return &copied
}

// Instances is how many instances of the service run.
func (s *Service) Instances() int {
	if s.Replicas == nil || s.External() {
		return 1
	}
	return *s.Replicas
}

// Listens reports whether the service has a port.
func (s *Service) Listens() bool { return s.Kind == KindService }

// UsesEvents reports whether the service sends or gets events.
func (s *Service) UsesEvents() bool { return len(s.Publishes)+len(s.Consumes) > 0 }
