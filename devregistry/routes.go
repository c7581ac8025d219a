package devregistry

func (r *Registry) routes() map[string]handler {
	return map[string]handler{
		"GET /v1/status/leader": r.statusLeader,
		"GET /v1/status/peers":  r.statusPeers,

		"GET /v1/agent/self":                       r.agentSelf,
		"GET /v1/agent/members":                    r.agentMembers,
		"GET /v1/agent/services":                   r.agentServices,
		"GET /v1/agent/checks":                     r.agentChecks,
		"GET /v1/agent/service/{id}":               r.agentService,
		"GET /v1/agent/health/service/id/{id}":     r.agentHealthByID,
		"GET /v1/agent/health/service/name/{name}": r.agentHealthByName,
		"PUT /v1/agent/maintenance":                r.maintainNode,
		"PUT /v1/agent/service/maintenance/{id}":   r.maintainService,
		"PUT /v1/agent/service/register":           r.registerService,
		"PUT /v1/agent/service/deregister/{id...}": r.deregisterService,
		"PUT /v1/agent/check/register":             r.registerCheck,
		"PUT /v1/agent/check/deregister/{id...}":   r.deregisterCheck,
		"PUT /v1/agent/check/pass/{id...}":         r.reportTTL(statusPassing),
		"PUT /v1/agent/check/warn/{id...}":         r.reportTTL(statusWarning),
		"PUT /v1/agent/check/fail/{id...}":         r.reportTTL(statusCritical),
		"PUT /v1/agent/check/update/{id...}":       r.updateTTL,

		"GET /v1/catalog/datacenters":          r.catalogDatacenters,
		"GET /v1/catalog/nodes":                r.catalogNodes,
		"GET /v1/catalog/services":             r.catalogServices,
		"GET /v1/catalog/service/{name}":       r.catalogService,
		"GET /v1/catalog/node/{node}":          r.catalogNode,
		"GET /v1/catalog/node-services/{node}": r.catalogNodeServices,

		"GET /v1/health/service/{name}": r.healthService,
		"GET /v1/health/checks/{name}":  r.healthChecks,
		"GET /v1/health/node/{node}":    r.healthNode,
		"GET /v1/health/state/{state}":  r.healthState,

		"GET /v1/kv/{key...}":    r.getKey,
		"PUT /v1/kv/{key...}":    r.putKey,
		"DELETE /v1/kv/{key...}": r.deleteKey,
		"PUT /v1/txn":            r.transact,

		"PUT /v1/session/create":       r.createSession,
		"PUT /v1/session/destroy/{id}": r.destroySession,
		"PUT /v1/session/renew/{id}":   r.renewSession,
		"GET /v1/session/info/{id}":    r.sessionInfo,
		"GET /v1/session/list":         r.sessionList,
		"GET /v1/session/node/{node}":  r.sessionsOfNode,
	}
}

// nameless lists the paths that lack a name at their end, with what is missing in
// Consul's words.
func nameless() map[string]string {
	return map[string]string{
		"GET /v1/catalog/service/{$}":           "service name",
		"GET /v1/catalog/node/{$}":              "node name",
		"GET /v1/catalog/node-services/{$}":     "node name",
		"GET /v1/health/service/{$}":            "service name",
		"GET /v1/health/checks/{$}":             "service name",
		"GET /v1/health/node/{$}":               "node name",
		"GET /v1/health/state/{$}":              "check state",
		"GET /v1/agent/health/service/id/{$}":   "serviceID",
		"GET /v1/agent/health/service/name/{$}": "service Name",
		"PUT /v1/agent/service/maintenance/{$}": "service ID",
		"PUT /v1/session/destroy/{$}":           "session",
		"PUT /v1/session/renew/{$}":             "session",
		"GET /v1/session/info/{$}":              "session",
		"GET /v1/session/node/{$}":              "node name",
	}
}

// absent lists the parts of Consul's API that exist there and not here, with the
// reason, which the answer gives too.
func absent() map[string]string {
	const (
		oneNode   = "it has one node, which no call changes; register services at /v1/agent/service/register"
		noACL     = "it has no tokens or policies: whoever reaches it may use it"
		noMesh    = "it has no service mesh"
		noCluster = "it is no cluster"
		noQuery   = "it has no prepared queries"
		ownDaemon = "mesh runs it: see mesh status and mesh metrics"
	)
	return map[string]string{
		"/v1/catalog/register": oneNode, "/v1/catalog/deregister": oneNode,
		"/v1/acl/": noACL, "/v1/agent/token/": noACL, "/v1/internal/acl/": noACL,
		"/v1/connect/": noMesh, "/v1/agent/connect/": noMesh, "/v1/catalog/connect/": noMesh, "/v1/health/connect/": noMesh,
		"/v1/health/ingress/": noMesh, "/v1/catalog/gateway-services/": noMesh, "/v1/discovery-chain/": noMesh,
		"/v1/config": noMesh, "/v1/config/": noMesh, "/v1/exported-services": noMesh, "/v1/imported-services": noMesh,
		"/v1/peering": noCluster, "/v1/peering/": noCluster, "/v1/peerings": noCluster, "/v1/coordinate/": noCluster,
		"/v1/operator/": noCluster, "/v1/snapshot": noCluster, "/v1/event/": noCluster, "/v1/internal/": noCluster,
		"/v1/agent/join/": noCluster, "/v1/agent/leave": noCluster, "/v1/agent/force-leave/": noCluster,
		"/v1/query": noQuery, "/v1/query/": noQuery,
		"/v1/agent/metrics": ownDaemon, "/v1/agent/metrics/stream": ownDaemon, "/v1/agent/monitor": ownDaemon,
		"/v1/agent/reload": ownDaemon, "/v1/agent/host": ownDaemon, "/v1/agent/version": ownDaemon,
	}
}
