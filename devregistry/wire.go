package devregistry

import (
	"bytes"
	"encoding/json"
	"time"
)

// The types of this file are Consul's JSON. Their names and keys are those
// of github.com/hashicorp/consul/api.

const (
	nodeID      = "6d657368-0000-4000-8000-000000000001"
	nodeAddress = "127.0.0.1"
)

type agentService struct {
	ID, Service       string
	Tags              []string
	Meta              map[string]string
	Port              int
	Address           string
	TaggedAddresses   map[string]taggedAddress `json:",omitempty"`
	Weights           weights
	EnableTagOverride bool
	CreateIndex       uint64
	ModifyIndex       uint64
	ContentHash       string `json:",omitempty"`
	Datacenter        string
}

type agentServiceHealth struct {
	AggregatedStatus string
	Service          agentService
	Checks           []healthCheck
}

type healthCheck struct {
	Node, CheckID, Name, Status, Notes, Output string
	ServiceID, ServiceName                     string
	ServiceTags                                []string
	Type                                       string
	Definition                                 struct{}
	CreateIndex, ModifyIndex                   uint64
}

type node struct {
	ID, Node, Address, Datacenter string
	TaggedAddresses               map[string]string
	Meta                          map[string]string
	CreateIndex, ModifyIndex      uint64
}

type catalogEntry struct {
	ID, Node, Address, Datacenter string
	TaggedAddresses               map[string]string
	NodeMeta                      map[string]string
	ServiceID, ServiceName        string
	ServiceAddress                string
	ServiceTaggedAddresses        map[string]taggedAddress `json:",omitempty"`
	ServiceTags                   []string
	ServiceMeta                   map[string]string
	ServicePort                   int
	ServiceWeights                weights
	ServiceEnableTagOverride      bool
	CreateIndex, ModifyIndex      uint64
}

type healthEntry struct {
	Node    node
	Service agentService
	Checks  []healthCheck
}

func (s *service) agentWire() agentService {
	return agentService{
		ID: s.ID, Service: s.Service, Tags: list(s.Tags), Meta: dict(s.Meta), Port: s.Port,
		Address: s.Address, TaggedAddresses: s.tagged, Weights: s.weights,
		EnableTagOverride: s.override, CreateIndex: s.created, ModifyIndex: s.modified,
		Datacenter: datacenter,
	}
}

func (s *service) catalogWire(nodeName string) catalogEntry {
	return catalogEntry{
		ID: nodeID, Node: nodeName, Address: nodeAddress, Datacenter: datacenter,
		TaggedAddresses: nodeAddresses(), NodeMeta: map[string]string{},
		ServiceID: s.ID, ServiceName: s.Service, ServiceAddress: s.Address,
		ServiceTaggedAddresses: s.tagged, ServiceTags: list(s.Tags), ServiceMeta: dict(s.Meta),
		ServicePort: s.Port, ServiceWeights: s.weights, ServiceEnableTagOverride: s.override,
		CreateIndex: s.created, ModifyIndex: s.modified,
	}
}

func (c *check) wire(nodeName string) healthCheck {
	return healthCheck{
		Node: nodeName, CheckID: c.id, Name: c.name, Status: c.status, Notes: c.notes,
		Output: c.output, ServiceID: c.serviceID, ServiceName: c.serviceName,
		ServiceTags: list(c.serviceTags), Type: c.kind,
		CreateIndex: c.created, ModifyIndex: c.modified,
	}
}

func nodeWire(name string) node {
	return node{
		ID: nodeID, Node: name, Address: nodeAddress, Datacenter: datacenter,
		TaggedAddresses: nodeAddresses(), Meta: map[string]string{}, CreateIndex: 1, ModifyIndex: 1,
	}
}

func nodeAddresses() map[string]string {
	return map[string]string{"lan": nodeAddress, "lan_ipv4": nodeAddress, "wan": nodeAddress, "wan_ipv4": nodeAddress}
}

// list and dict are never null in JSON: clients in other languages iterate.
func list(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

func dict(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// duration is a Go duration as a string ("10s"), or nanoseconds as a number.
type duration time.Duration

func (d *duration) UnmarshalJSON(body []byte) error {
	if !bytes.HasPrefix(body, []byte(`"`)) {
		return json.Unmarshal(body, (*int64)(d))
	}
	var text string
	if err := json.Unmarshal(body, &text); err != nil || text == "" {
		return err
	}
	parsed, err := time.ParseDuration(text)
	*d = duration(parsed)
	return err
}
