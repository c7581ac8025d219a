package build

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/mod/modfile"

	"github.com/ebef7166/mesh/internal/gomod"
	"github.com/ebef7166/mesh/manifest"
	"github.com/ebef7166/mesh/runtime"
	"github.com/ebef7166/mesh/runtime/process"
)

// golang builds Go services, and packs those that run in containers.
func (b *Builder) golang(ctx context.Context, services []*manifest.Service, report func(string, runtime.Artifact, error)) {
	report, wait := b.packed(ctx, services, report)
	defer wait()
	for target, part := range b.byTarget(ctx, services) {
		b.compile(ctx, target, part, report)
	}
}

// compile builds the services of a go.work together and those of none alone.
func (b *Builder) compile(ctx context.Context, t target, services []*manifest.Service, report func(string, runtime.Artifact, error)) {
	together := map[string][]*manifest.Service{} // by the folder of their go.work
	own := membersOf(b.Dir)
	for _, s := range services {
		work := b.Dir
		if !slices.ContainsFunc(own, func(dir string) bool { return within(s.Dir, dir) }) {
			work = gomod.WorkOf(s.Dir)
		}
		if work != "" {
			together[work] = append(together[work], s)
			continue
		}
		r := &round{Builder: b, target: t, dir: s.Dir, work: "off", services: []*manifest.Service{s}, report: report}
		r.build(ctx)
	}
	for _, work := range slices.Sorted(maps.Keys(together)) {
		for _, batch := range distinct(together[work]) {
			r := &round{Builder: b, target: t, dir: work, services: batch, report: report}
			r.build(ctx)
		}
	}
}

// membersOf are the module folders of the go.work in dir, absolute.
func membersOf(dir string) []string {
	dirs, err := gomod.Members(dir)
	if err != nil {
		return []string{dir} // go build will say what is wrong with it
	}
	return dirs
}

func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// distinct splits services into batches in which no two programs have the same
// name: `go build -o dir/` would silently overwrite one by the other.
func distinct(services []*manifest.Service) [][]*manifest.Service {
	var batches [][]*manifest.Service
	of := map[string]int{} // how many services there are with a program of that name
	for _, s := range services {
		name := program(s)
		if of[name] == len(batches) {
			batches = append(batches, nil)
		}
		batches[of[name]] = append(batches[of[name]], s)
		of[name]++
	}
	return batches
}

// program is the name that `go build -o dir/` gives a service's program.
func program(s *manifest.Service) string {
	name := gomod.ProgramName(gomod.ImportPath(filepath.Join(s.Dir, filepath.FromSlash(s.Go))))
	if goruntime.GOOS == "windows" {
		name += ".exe"
	}
	return name
}

// round is one `go build` for several services.
type round struct {
	*Builder
	target   target
	dir      string // where go build runs
	work     string // GOWORK, when not the one of dir
	services []*manifest.Service
	report   func(string, runtime.Artifact, error)
	from     string // the inputs, as they were before the build began
}

// build builds all whose inputs have changed, reports those that came out, and
// builds again without the culprits where one of them kept the others from being
// built.
func (r *round) build(ctx context.Context) {
	r.from = r.inputs()
	if r.services = r.known(r.from); len(r.services) == 0 {
		return
	}
	if err := os.MkdirAll(r.Bin, 0o700); err != nil {
		r.fail(err)
		return
	}
	out, err := os.MkdirTemp(r.Bin, outputs)
	if err != nil {
		r.fail(err)
		return
	}
	defer os.RemoveAll(out)
	said, err := r.run(ctx, out)
	if ctx.Err() != nil {
		return
	}
	missing := r.collect(out)
	if len(missing) == 0 {
		return
	}
	if err == nil {
		err = errors.New("go build made no program: is the package called main?")
	}
	r.blame(ctx, missing, said, err)
}

func (r *round) fail(err error) {
	for _, s := range r.services {
		r.report(s.Name, runtime.Artifact{}, err)
	}
}

// collect reports the programs that there are and returns the other services.
func (r *round) collect(out string) []*manifest.Service {
	var missing []*manifest.Service
	for _, s := range r.services {
		path := filepath.Join(out, program(s))
		if _, err := os.Stat(path); err != nil {
			missing = append(missing, s)
			continue
		}
		a, err := r.install(path, s.Name)
		if err == nil {
			r.remember(s, r.from, a.Version)
		}
		r.report(s.Name, a, err)
	}
	return missing
}

// blame finds whose errors the compiler printed.
func (r *round) blame(ctx context.Context, missing []*manifest.Service, said string, err error) {
	var innocent []*manifest.Service
	for _, s := range missing {
		if mine := r.errorsOf(s, said); mine != "" {
			r.report(s.Name, runtime.Artifact{}, errors.New(mine))
		} else {
			innocent = append(innocent, s)
		}
	}
	if len(innocent) == 0 {
		return
	}
	again := &round{Builder: r.Builder, target: r.target, dir: r.dir, work: r.work, services: innocent, report: r.report}
	if r.work == "" && strings.HasPrefix(strings.TrimSpace(said), "go: ") {
		work, err := r.workWithout(said)
		if err != nil {
			again.fail(err)
			return
		}
		if work != "" {
			defer os.Remove(work)
			again.work = work
			again.build(ctx)
			return
		}
	}
	if len(innocent) < len(missing) {
		again.build(ctx)
		return
	}
	// Nobody in particular: a shared package, the go.work, or go itself.
	message := strings.TrimSpace(said)
	if message == "" {
		message = err.Error()
	}
	again.fail(errors.New(message))
}

// errorsOf are the lines of the compiler's output that point into the service's
// folder.
func (r *round) errorsOf(s *manifest.Service, said string) string {
	rel, err := filepath.Rel(r.dir, s.Dir)
	if err != nil {
		return ""
	}
	prefix := filepath.ToSlash(rel) + "/"
	if rel == "." {
		return strings.TrimSpace(said)
	}
	var mine []string
	for line := range strings.Lines(said) {
		if strings.HasPrefix(line, "# ") { // the package's name, which the files repeat
			continue
		}
		if pointsInto(strings.TrimSpace(line), prefix) || pointsInto(line, s.Dir) {
			mine = append(mine, strings.TrimRight(strings.TrimPrefix(line, "./"), "\n"))
		}
	}
	return strings.Join(mine, "\n")
}

func pointsInto(line, prefix string) bool {
	i := strings.Index(line, prefix)
	return i == 0 || i > 0 && strings.ContainsRune(" /\t(", rune(line[i-1]))
}

// workWithout writes a go.work that leaves out the modules whose go.mod go
// complained of, since one of those stops all; "" when there is none.
func (r *round) workWithout(said string) (string, error) {
	path := filepath.Join(r.dir, "go.work")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	work, err := modfile.ParseWork(path, data, nil)
	if err != nil {
		return "", err
	}
	dropped := false
	for _, use := range slices.Clone(work.Use) {
		member := use.Path // DropUse empties it
		dir := gomod.Absolute(r.dir, member)
		if err := work.DropUse(member); err != nil {
			return "", err
		}
		if strings.Contains(said, filepath.ToSlash(filepath.Clean(member))+"/go.mod") || strings.Contains(said, filepath.Join(dir, "go.mod")) {
			dropped = true
			continue
		}
		if err := work.AddUse(dir, ""); err != nil {
			return "", err
		}
	}
	if !dropped {
		return "", nil
	}
	work.Cleanup()
	f, err := os.CreateTemp(r.Bin, works)
	if err != nil {
		return "", err
	}
	_, err = f.Write(modfile.Format(work.Syntax))
	return f.Name(), errors.Join(err, f.Close())
}

// run runs go build and returns what it said of errors.
func (r *round) run(ctx context.Context, out string) (string, error) {
	args := []string{"build", "-v", "-buildvcs=false", "-o", out + string(filepath.Separator)}
	for _, s := range r.services {
		rel, err := filepath.Rel(r.dir, filepath.Join(s.Dir, filepath.FromSlash(s.Go)))
		if err != nil {
			return "", err
		}
		args = append(args, "./"+filepath.ToSlash(rel))
	}
	if _, err := exec.LookPath("go"); err != nil {
		return "", errors.New("go: no such program on PATH; install Go from https://go.dev/dl, or start mesh from a shell that has it")
	}
	marker := "MESH_BUILD=" + filepath.Base(out)
	env := slices.Concat(os.Environ(), r.target.env(), []string{marker})
	if r.work != "" {
		env = append(env, "GOWORK="+r.work)
	}
	listener := &listener{round: r}
	// All that go build says goes to stderr (go help build, -v).
	exit, err := r.Processes.Exec(ctx, process.Spec{Argv: append([]string{"go"}, args...), Dir: r.dir, Env: env, Marker: marker, Stdout: io.Discard, Stderr: listener})
	if err == nil && exit.Code != 0 {
		err = fmt.Errorf("go build: %s", exit)
	}
	return listener.errors.String(), err
}

// listener parts what go build -v prints: the names of packages are progress,
// the rest is errors.
type listener struct {
	*round
	errors   bytes.Buffer
	partial  []byte
	packages atomic.Int64
	told     time.Time
}

func (l *listener) Write(p []byte) (int, error) {
	l.partial = append(l.partial, p...)
	for {
		line, rest, found := bytes.Cut(l.partial, []byte("\n"))
		if !found {
			return len(p), nil
		}
		l.line(string(line))
		l.partial = rest
	}
}

func (l *listener) line(text string) {
	switch {
	case strings.HasPrefix(text, "go: downloading "):
		l.tell("downloads " + strings.TrimPrefix(text, "go: downloading "))
	case text != "" && !strings.ContainsAny(text, " :\t"):
		l.tell(fmt.Sprintf("%d packages compiled: %s", l.packages.Add(1), text))
	default:
		l.errors.WriteString(text + "\n")
	}
}

// tell says at most ten times a second how far it is.
func (l *listener) tell(text string) {
	if time.Since(l.told) < 100*time.Millisecond {
		return
	}
	l.told = time.Now()
	for _, s := range l.services {
		l.Progress(s.Name, text)
	}
}
