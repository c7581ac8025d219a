package devtelemetry

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// unmarshalJSON reads OTLP's JSON, which is Protobuf's but for the ids: they
// are hexadecimal, and not base64.
func unmarshalJSON(data []byte, into proto.Message) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var tree any
	if err := decoder.Decode(&tree); err != nil {
		return err
	}
	if err := recodeIDs(tree); err != nil {
		return err
	}
	recoded, err := json.Marshal(tree)
	if err != nil {
		return err
	}
	return protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(recoded, into)
}

func recodeIDs(tree any) error {
	switch node := tree.(type) {
	case []any:
		for _, item := range node {
			if err := recodeIDs(item); err != nil {
				return err
			}
		}
	case map[string]any:
		for name, value := range node {
			text, isText := value.(string)
			if !isText || !isID(name) {
				if err := recodeIDs(value); err != nil {
					return err
				}
				continue
			}
			id, err := hex.DecodeString(text)
			if err != nil {
				return fmt.Errorf("%s is not hexadecimal", name)
			}
			node[name] = base64.StdEncoding.EncodeToString(id)
		}
	}
	return nil
}

func isID(name string) bool {
	switch name {
	case "traceId", "spanId", "parentSpanId", "trace_id", "span_id", "parent_span_id":
		return true
	}
	return false
}
