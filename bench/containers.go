package main

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// fleet is how many containers are started.
const fleet = 10

const answering = `package main

import (
	"net/http"
	"os"
)

func main() {
	if len(os.Args) > 1 { // Compose's health check
		resp, err := http.Get("http://127.0.0.1:" + os.Getenv("PORT") + "/readyz")
		if err != nil || resp.StatusCode != 200 {
			os.Exit(1)
		}
		return
	}
	http.HandleFunc("/readyz", func(http.ResponseWriter, *http.Request) {})
	panic(http.ListenAndServe(os.Getenv("HOST")+":"+os.Getenv("PORT"), nil))
}
`

// containers compares mesh up of ten containers with the engine alone, all at
// once, and with Compose where there is one. The images are there already.
func (b *bench) containers() {
	dir := b.fleet()
	defer timed(dir, nil, b.mesh, "down", "--volumes", "-q")
	timed(dir, nil, b.mesh, "up", "-d", "-q")
	images := imagesOf(dir)
	b.down(dir)
	defer func() { _ = exec.Command("docker", append([]string{"rmi", "-f"}, images...)...).Run() }() // of no use to anybody
	useImages(dir, images)
	compose := composed()
	var up, down, engine, healthy, answering []time.Duration
	for range b.runs {
		engine = append(engine, byHand(images))
		up = append(up, timed(dir, nil, b.mesh, "up", "-d", "-q"))
		down = append(down, timed(dir, nil, b.mesh, "down", "-q"))
		if compose {
			healthy = append(healthy, byCompose(dir, images, true))
			answering = append(answering, byCompose(dir, images, false))
		}
	}
	bound := median(engine) * 3 / 2
	b.report("ten containers to healthy", ms(median(up)), "≤ 1.5 × the engine alone "+ms(median(engine)), median(up) <= bound)
	b.report("mesh down of them", ms(median(down)), "≤ 5 s", median(down) <= 5*time.Second)
	if !compose {
		fmt.Println("containers: Compose is missing (github.com/docker/compose/v2, as ~/.docker/cli-plugins/docker-compose)")
		b.short++
		return
	}
	bound = median(healthy) * 6 / 10
	b.report("ten containers to healthy", ms(median(up)), "≤ 0.6 × docker compose up --wait "+ms(median(healthy)), median(up) <= bound)
	fmt.Printf("%-44s %.2f × docker compose up %s, which does not look whether they are healthy\n", "ten containers to healthy, beside answering", float64(median(up))/float64(median(answering)), ms(median(answering)))
}

// composed reports that there is Compose, the engine's plugin. The older program of its
// own cannot wait until containers are healthy.
func composed() bool { return exec.Command("docker", "compose", "version").Run() == nil }

// fleet is a workspace of ten Go services in containers.
func (b *bench) fleet() string {
	dir := filepath.Join(b.dir, "fleet")
	work := "go 1.26\n"
	for i := range fleet {
		name := fmt.Sprintf("s%d", i)
		at := filepath.Join(dir, "services", name)
		check(os.MkdirAll(at, 0o700))
		for file, text := range map[string]string{"main.go": answering, "go.mod": "module example.test/" + name + "\ngo 1.26\n",
			"mesh.service.yaml": "version: 1\nname: " + name + "\ngo: .\ndriver: container\nhealth: {http: /readyz}\n"} {
			check(os.WriteFile(filepath.Join(at, file), []byte(text), 0o600))
		}
		work += "use ./services/" + name + "\n"
	}
	check(os.WriteFile(filepath.Join(dir, "go.work"), []byte(work), 0o600))
	check(os.WriteFile(filepath.Join(dir, "mesh.yaml"), []byte(workspace), 0o600))
	return dir
}

// useImages makes the services run what is built already, as the others do.
func useImages(dir string, images []string) {
	for i, image := range images {
		name := fmt.Sprintf("s%d", i)
		check(os.WriteFile(filepath.Join(dir, "services", name, "mesh.service.yaml"),
			[]byte("version: 1\nname: "+name+"\nimage: "+image+"\nhealth: {http: /readyz}\n"), 0o600))
	}
}

// imagesOf are the images of the services, in their order.
func imagesOf(dir string) []string {
	out, err := exec.Command("docker", "ps", "--filter", "label=dev.mesh.workspace="+dir, "--format", `{{.Label "dev.mesh.service"}} {{.Image}}`).Output()
	check(err)
	var images []string
	for _, line := range slices.Sorted(strings.Lines(string(out))) {
		images = append(images, strings.Fields(line)[1])
	}
	return images
}

const firstPort = 21900

// byHand does with the engine's own command what mesh does: a network, and on it
// all containers at once, with their ports on loopback, until all answer.
func byHand(images []string) time.Duration {
	begun := time.Now()
	timed(".", nil, "docker", "network", "create", "mesh-bench")
	together(func(i int) {
		timed(".", nil, "docker", "run", "-d", "--name", fmt.Sprintf("mesh-bench-%d", i), "--network", "mesh-bench", "-e", "HOST=0.0.0.0", "-e", "PORT=8080",
			"-p", fmt.Sprintf("127.0.0.1:%d:8080", firstPort+i), images[i])
		answer(firstPort + i)
	})
	took := time.Since(begun)
	together(func(i int) { timed(".", nil, "docker", "rm", "-f", fmt.Sprintf("mesh-bench-%d", i)) })
	timed(".", nil, "docker", "network", "rm", "mesh-bench")
	return took
}

// byCompose has Compose start the containers until all answer. To healthy it has a
// check of each, every second, which is as often as people have it.
func byCompose(dir string, images []string, healthy bool) time.Duration {
	text, up := "version: '3'\nservices:\n", []string{"up", "-d"}
	for i, image := range images {
		checked := ""
		if healthy {
			checked = fmt.Sprintf(", healthcheck: {test: [CMD, /usr/local/bin/s%d, check], interval: 1s, timeout: 5s, retries: 30}", i)
		}
		text += fmt.Sprintf("  s%d: {image: %q, environment: {HOST: 0.0.0.0, PORT: '8080'}, ports: ['127.0.0.1:%d:8080']%s}\n", i, image, firstPort+i, checked)
	}
	if healthy {
		up = append(up, "--wait")
	}
	file := filepath.Join(dir, "compose.yaml")
	check(os.WriteFile(file, []byte(text), 0o600))
	run := func(args ...string) {
		timed(dir, nil, slices.Concat([]string{"docker", "compose", "-p", "mesh-bench", "-f", file}, args)...)
	}
	begun := time.Now()
	run(up...)
	together(func(i int) { answer(firstPort + i) })
	took := time.Since(begun)
	run("down")
	return took
}

func together(do func(i int)) {
	var all sync.WaitGroup
	for i := range fleet {
		all.Go(func() { do(i) })
	}
	all.Wait()
}

// answer waits until a service is ready.
func answer(port int) {
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		resp, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/readyz", port))
		if err == nil {
			resp.Body.Close()
			return
		}
	}
	check(fmt.Errorf("nothing answers on port %d", port))
}
