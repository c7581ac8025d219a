package container

import (
	"encoding/json"
	"errors"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// readStream reads the engine's messages about a load or a build until the end,
// or the error that one of them tells.
func readStream(r io.Reader, see func(text string)) error {
	for dec := json.NewDecoder(r); ; {
		var m struct {
			Stream string          `json:"stream"`
			Error  string          `json:"error"`
			ID     string          `json:"id"`
			Aux    json.RawMessage `json:"aux"`
		}
		switch err := dec.Decode(&m); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case m.Error != "":
			return errors.New(m.Error)
		case see == nil:
		case m.ID == "moby.buildkit.trace":
			for _, text := range buildkitLog(m.Aux) {
				see(text)
			}
		case m.Stream != "":
			see(m.Stream)
		}
	}
}

// Fields of BuildKit's StatusResponse and VertexLog (api/services/control).
const (
	statusLogs = 3
	logMessage = 4
)

// buildkitLog is what commands said, of BuildKit's report on its progress. What
// is no such report says nothing.
func buildkitLog(aux json.RawMessage) (texts []string) {
	var report []byte
	if json.Unmarshal(aux, &report) != nil {
		return nil
	}
	for _, log := range fields(report, statusLogs) {
		for _, text := range fields(log, logMessage) {
			texts = append(texts, string(text))
		}
	}
	return texts
}

// fields are the values of the length-delimited fields with this number.
func fields(message []byte, wanted protowire.Number) (values [][]byte) {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return values
		}
		message = message[n:]
		if number == wanted && kind == protowire.BytesType {
			value, n := protowire.ConsumeBytes(message)
			if n < 0 {
				return values
			}
			values, message = append(values, value), message[n:]
			continue
		}
		n = protowire.ConsumeFieldValue(number, kind, message)
		if n < 0 {
			return values
		}
		message = message[n:]
	}
	return values
}
