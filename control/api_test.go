package control

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"

	"github.com/ebef7166/mesh/runtime"
)

// TestContractKeys holds that what scripts read of status and ps keeps its names.
func TestContractKeys(t *testing.T) {
	for _, tt := range []struct {
		what string
		v    any
		want []string
	}{
		{"status", Status{}, []string{"workspace", "pid", "state", "services", "gateway", "registry", "registry_dns", "identity", "broker",
			"otlp_grpc", "otlp_http", "metrics", "control"}},
		{"ps", runtime.Instance{}, []string{"service", "instance", "driver", "state", "pid", "container_id", "address", "url", "version",
			"restarts", "exit_code", "started_at", "cpu_percent", "memory_bytes", "reason"}},
	} {
		data, err := json.Marshal(tt.v)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		for _, key := range tt.want {
			if _, ok := got[key]; !ok {
				t.Errorf("%s lacks %q; it has %v", tt.what, key, slices.Sorted(maps.Keys(got)))
			}
		}
	}
}
