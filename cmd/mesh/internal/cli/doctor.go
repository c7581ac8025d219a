package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime/container"
	"github.com/ebef7166/mesh/runtime/process"
	"github.com/ebef7166/mesh/workspace"
)

// finding is one thing that mesh needs of a machine.
type finding struct {
	Name  string `json:"name" yaml:"name"`
	State string `json:"state" yaml:"state"` // ok; missing, where something works without it only; bad
	Text  string `json:"text" yaml:"text"`
	Next  string `json:"next" yaml:"next"` // what to do; "" when it is ok
}

// The states of a finding.
const (
	findingOK      = "ok"
	findingMissing = "missing"
	findingBad     = "bad"
)

func good(name, text string) finding { return finding{name, findingOK, text, ""} }

// newDoctor is `mesh doctor`.
func newDoctor(d *deps) *cobra.Command {
	var out output
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look at what this machine has and lacks", Args: cobra.NoArgs,
		Long: `Look at what this machine has and lacks: Go, git, a Docker engine, how processes are held together,
limits, and the gateway's port. It exits 1 when something keeps mesh from working at all; a thing that only
some workspaces need is called missing.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return runDoctor(cmd.Context(), d, out) },
	}
	out.flag(cmd)
	return cmd
}

func runDoctor(ctx context.Context, d *deps, out output) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	findings := []finding{doctorGo(ctx), doctorGit(ctx), doctorEngine(ctx), doctorProcesses(), doctorGateway(ctx, d)}
	findings = append(findings, doctorLimits()...)
	err := out.print(d.streams.Out, findings, func(w io.Writer) {
		for _, f := range findings {
			fmt.Fprintf(w, "%s\t%s\t%s\n", f.State, f.Name, f.Text)
			if f.Next != "" {
				fmt.Fprintf(w, "\t\t  next: %s\n", f.Next)
			}
		}
	})
	for _, f := range findings {
		if f.State == findingBad {
			return errors.Join(err, fmt.Errorf("%s: %s", f.Name, f.Text))
		}
	}
	return err
}

func doctorGo(ctx context.Context) finding {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return finding{"go", findingMissing, "no go command on PATH: services in Go cannot be built", "install Go from https://go.dev/dl"}
	}
	return good("go", strings.TrimSpace(string(out)))
}

func doctorGit(ctx context.Context) finding {
	out, err := exec.CommandContext(ctx, "git", "--version").Output()
	if err != nil {
		return finding{"git", findingMissing, "no git command on PATH", "mesh itself does not need it; your workspace wants it"}
	}
	return good("git", strings.TrimPrefix(strings.TrimSpace(string(out)), "git version "))
}

func doctorEngine(ctx context.Context) finding {
	text, err := container.Describe(ctx)
	if err != nil {
		return finding{"docker engine", findingMissing, firstLine(err.Error()), "only services that run as containers need one"}
	}
	return good("docker engine", text)
}

// doctorProcesses tries in a folder of its own: the workspace may be running.
func doctorProcesses() finding {
	state, err := os.MkdirTemp("", "mesh-doctor-*")
	if err == nil {
		defer os.RemoveAll(state)
		err = os.Mkdir(filepath.Join(state, "run"), 0o700)
	}
	if err != nil {
		return finding{"temporary folder", findingBad, err.Error(), "make room there, or set TMPDIR"}
	}
	means := process.Means(state)
	if strings.Contains(means, "cgroup") {
		return good("processes", means)
	}
	return finding{"processes", findingMissing, means + ": a process that leaves its session and changes its environment outlives its service's stop, not mesh",
		"a cgroup that this user may write to (on Linux: root, or a systemd user session) holds those too"}
}

// doctorGateway looks at the workspace's address, or at the one that mesh takes
// by default.
func doctorGateway(ctx context.Context, d *deps) finding {
	address := manifest.DefaultGateway
	p, m, err := d.workspace()
	if err == nil {
		address = m.Gateway.Address
		if status, err := p.client().Status(ctx); err == nil {
			return good("gateway", "mesh runs here: "+status.Gateway.URL)
		}
	}
	if err := workspace.Free(ctx, address); err != nil {
		return finding{"gateway", findingMissing, err.Error(), "mesh up --gateway 127.0.0.1:0 takes a free port"}
	}
	return good("gateway", address+" is free")
}
