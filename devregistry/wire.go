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
	Checks           rows[healthCheck]
}

type member struct {
	Name, Addr string
	Port       int
	Tags       map[string]string
	Status     int // 1: alive
}

type healthCheck struct {
	Node, CheckID, Name, Status, Notes, Output string
	ServiceID, ServiceName                     string
	ServiceTags                                []string
	Type                                       string
	Interval, Timeout                          string // Go durations; "" unless the registry makes the check
	Definition                                 definitionWire
	CreateIndex, ModifyIndex                   uint64
}

// definitionWire is how a check that the registry makes is made.
type definitionWire struct {
	HTTP                           string              `json:",omitempty"`
	Method                         string              `json:",omitempty"`
	Header                         map[string][]string `json:",omitempty"`
	Body                           string              `json:",omitempty"`
	TCP                            string              `json:",omitempty"`
	TCPUseTLS                      bool                `json:",omitempty"`
	GRPC                           string              `json:",omitempty"`
	GRPCUseTLS                     bool                `json:",omitempty"`
	TLSServerName                  string              `json:",omitempty"`
	TLSSkipVerify                  bool                `json:",omitempty"`
	Interval, Timeout              string              `json:",omitempty"`
	DeregisterCriticalServiceAfter string              `json:",omitempty"`
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
	Checks  rows[healthCheck]
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
		Interval: text(c.interval), Timeout: text(time.Duration(c.definition.Timeout)), Definition: c.definition.wire(c.interval),
		CreateIndex: c.created, ModifyIndex: c.modified,
	}
}

func (d *checkDefinition) wire(interval time.Duration) definitionWire {
	if !d.probed() {
		return definitionWire{DeregisterCriticalServiceAfter: text(time.Duration(d.DeregisterCriticalServiceAfter))}
	}
	return definitionWire{
		HTTP: d.HTTP, Method: d.Method, Header: d.Header, Body: d.Body, TCP: d.TCP, TCPUseTLS: d.TCPUseTLS,
		GRPC: d.GRPC, GRPCUseTLS: d.GRPCUseTLS, TLSServerName: d.TLSServerName, TLSSkipVerify: d.TLSSkipVerify,
		Interval: text(interval), Timeout: text(time.Duration(d.Timeout)),
		DeregisterCriticalServiceAfter: text(time.Duration(d.DeregisterCriticalServiceAfter)),
	}
}

// text is a duration as Go writes it, or nothing.
func text(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return d.String()
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
