package devregistry

import (
	"net/http"

	"github.com/ebef7166/mesh/devregistry/internal/kv"
)

// maxOps is how many operations a transaction may have, as in Consul.
const maxOps = 128

type txnOp struct {
	KV                            *kv.Op
	Node, Service, Check, Session any
}

type txnResult struct{ KV *kv.Entry }

type txnAnswer struct {
	Results []txnResult
	Errors  []kv.OpError
}

// transact does all operations, or none and answers 409 with the reasons
// (https://developer.hashicorp.com/consul/api-docs/txn).
func (r *Registry) transact(c *call) (any, error) {
	var body []txnOp
	if err := c.decode(&body); err != nil {
		return nil, err
	}
	ops, err := keyOps(body)
	if err != nil {
		return nil, err
	}
	entries, failed := r.keys.Apply(ops...)
	answer := txnAnswer{Errors: failed}
	for _, e := range entries {
		answer.Results = append(answer.Results, txnResult{e})
	}
	if len(failed) > 0 {
		c.w.Header().Set("Content-Type", "application/json")
		c.w.WriteHeader(http.StatusConflict)
	}
	return answer, nil
}

func keyOps(body []txnOp) ([]kv.Op, error) {
	if len(body) > maxOps {
		return nil, fail(http.StatusRequestEntityTooLarge, "Transaction contains too many operations (%d > %d)", len(body), maxOps)
	}
	ops := make([]kv.Op, 0, len(body))
	for _, op := range body {
		if op.KV == nil {
			return nil, fail(http.StatusNotImplemented, "transactions of mesh's registry are over keys (KV) alone")
		}
		if op.KV.Key == "" && op.KV.Verb != kv.GetTree && op.KV.Verb != kv.DeleteTree {
			return nil, fail(http.StatusBadRequest, "Missing key name")
		}
		ops = append(ops, *op.KV)
	}
	return ops, nil
}
