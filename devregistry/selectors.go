package devregistry

import "reflect"

// part is what a struct has under a name, of its own or by what Consul has there
// besides; the zero [reflect.Value] when there is nothing.
func (s *scope) part(of reflect.Value, name string) reflect.Value {
	more, ok := besides[of.Type()]
	switch field := of.FieldByName(name); {
	case field.IsValid() || !ok:
		return field
	case s.strict:
		return example(more).FieldByName(name)
	}
	return reflect.Zero(more).FieldByName(name)
}

// besides are the parts that Consul's services, nodes and checks have for its
// service mesh and its clusters. There is neither here, so that they are empty and
// no answer has them. Filters that were written for Consul name them.
var besides = map[reflect.Type]reflect.Type{
	reflect.TypeFor[agentService](): reflect.TypeFor[meshedService](),
	reflect.TypeFor[catalogEntry](): reflect.TypeFor[meshedEntry](),
	reflect.TypeFor[node]():         reflect.TypeFor[meshedNode](),
	reflect.TypeFor[healthCheck]():  reflect.TypeFor[meshedCheck](),
}

type meshedService struct {
	Kind, SocketPath, PeerName string
	Connect                    connectNative
	Proxy                      proxy
}

type meshedEntry struct {
	ServiceKind, ServiceSocketPath, PeerName string
	ServiceConnect                           connectNative
	ServiceProxy                             proxy
}

type meshedNode struct{ PeerName string }

type meshedCheck struct {
	ExposedPort int
	PeerName    string
}

type connectNative struct{ Native bool }

type gatewayMode struct{ Mode string }

type proxy struct {
	DestinationServiceName, DestinationServiceID string
	LocalServiceAddress, LocalServiceSocketPath  string
	LocalServicePort                             int
	Mode                                         string
	TransparentProxy                             struct {
		OutboundListenerPort int
		DialedDirectly       bool
	}
	MeshGateway gatewayMode
	Upstreams   []upstream
	Expose      struct {
		Checks bool
		Paths  []exposedPath
	}
}

type upstream struct {
	DestinationType, DestinationName              string
	DestinationNamespace, DestinationPartition    string
	DestinationPeer, Datacenter, LocalBindAddress string
	LocalBindPort                                 int
	LocalBindSocketPath, LocalBindSocketMode      string
	MeshGateway                                   gatewayMode
}

type exposedPath struct {
	ListenerPort, LocalPathPort int
	Path, Protocol              string
	ParsedFromCheck             bool
}
