package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"

	"github.com/spf13/cobra"
)

// newEnv is `mesh env`.
func newEnv(d *deps) *cobra.Command {
	var format string
	var reveal bool
	cmd := &cobra.Command{
		Use: "env SERVICE", Short: "Show a service's environment, for a shell or an IDE", Args: cobra.ExactArgs(1),
		ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runEnv(cmd.Context(), d, args[0], format, reveal)
		},
	}
	cmd.Flags().StringVar(&format, "format", "shell", "`FORMAT`: shell, dotenv or json")
	completes(cmd, "format", "shell", "dotenv", "json")
	cmd.Flags().BoolVar(&reveal, "reveal", false, "show secrets too")
	return cmd
}

func runEnv(ctx context.Context, d *deps, service, format string, reveal bool) error {
	write, ok := map[string]func(io.Writer, map[string]string) error{"shell": writeShell, "dotenv": writeDotenv, "json": writeJSON}[format]
	if !ok {
		return usageError("--format %s: it takes shell, dotenv or json", format)
	}
	client, err := d.client()
	if err != nil {
		return err
	}
	e, err := client.Environment(ctx, service, reveal)
	if err != nil {
		return explain(err)
	}
	if !reveal && len(e.Secrets) > 0 && !d.quiet {
		fmt.Fprintf(d.streams.Err, "Masked: %s; --reveal shows them.\n", strings.Join(e.Secrets, ", "))
	}
	return write(d.streams.Out, e.Values)
}

func writeShell(w io.Writer, values map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := fmt.Fprintf(w, "export %s=%s\n", name, quoted(values[name])); err != nil {
			return err
		}
	}
	return nil
}

func writeDotenv(w io.Writer, values map[string]string) error {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "$", `\$`)
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if _, err := fmt.Fprintf(w, "%s=\"%s\"\n", name, quote.Replace(values[name])); err != nil {
			return err
		}
	}
	return nil
}

func writeJSON(w io.Writer, values map[string]string) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(values)
}

// newExec is `mesh exec`.
func newExec(d *deps) *cobra.Command {
	return &cobra.Command{
		Use: "exec SERVICE -- COMMAND [ARG...]", Short: "Run a command in a service's container, or in its folder with its environment",
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: d.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runExec(cmd.Context(), d, args[0], args[1:])
		},
	}
}

func runExec(ctx context.Context, d *deps, name string, argv []string) error {
	p, m, err := d.workspace()
	if err != nil {
		return err
	}
	s, err := service(m, name)
	if err != nil {
		return err
	}
	now, err := p.client().Snapshot(ctx)
	if err != nil {
		return explain(err)
	}
	if in := inContainer(now.Of(name)); in != nil {
		return execInside(ctx, d, *in, argv)
	}
	e, err := p.client().Environment(ctx, name, true)
	if err != nil {
		return explain(err)
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = s.Dir, d.streams.In, d.streams.Out, d.streams.Err
	for _, name := range slices.Sorted(maps.Keys(e.Values)) {
		cmd.Env = append(cmd.Env, name+"="+e.Values[name])
	}
	// Interrupted, it gets the chance to end in its own way.
	cmd.Cancel, cmd.WaitDelay = func() error { return cmd.Process.Signal(os.Interrupt) }, 10*time.Second
	return exitCodeOf(ctx, cmd.Run(), argv[0])
}

// exitCodeOf passes on the exit code of a command that was run for the user.
func exitCodeOf(ctx context.Context, err error, program string) error {
	var exit *exec.ExitError
	var ended syscall.WaitStatus
	ran := errors.As(err, &exit)
	if ran {
		ended, _ = exit.Sys().(syscall.WaitStatus)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case ran && exit.ExitCode() >= 0:
		return silent(exit.ExitCode())
	case ended.Signaled(): // as shells tell it
		return silent(128 + int(ended.Signal()))
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return &failure{err: fmt.Errorf("%s: no such program", filepath.Base(program)), code: 127}
	}
	return err
}

// quoted is a text as a shell takes it for one word (POSIX, 2.2.2 Single-Quotes).
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// pasted is quoted where it has to be: for commands that people are shown.
func pasted(word string) string {
	plain := func(r rune) bool {
		return unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("/._-+@:,=", r)
	}
	if word != "" && strings.TrimFunc(word, plain) == "" {
		return word
	}
	return quoted(word)
}
