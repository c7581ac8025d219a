# `make help` lists what there is.
GO      ?= go
TOOL    := $(GO) tool -modfile=tools/go.mod
PKGS    := ./...
FUZZTIME ?= 30s
N       ?= 5

.PHONY: help build test race lint fmt golden fuzz bench e2e snapshot cross

help: ## list the targets
	@grep -hE '^[a-z0-9%-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

build: ## build bin/mesh, static as the releases are
	CGO_ENABLED=0 $(GO) build -buildvcs=false -o bin/mesh ./cmd/mesh

test: ## all tests; MESH_TEST_REQUIRE=all turns a skip for a missing part into a failure
	$(GO) test -shuffle=on -timeout 20m $(PKGS)

race: ## all tests of what runs at once, with the race detector
	$(GO) test -race -shuffle=on -short -timeout 20m $(PKGS)

lint: ## what a reviewer should not have to say
	$(TOOL) golangci-lint run --allow-parallel-runners

fmt: ## format
	gofmt -w $$(git ls-files '*.go')

golden: ## make generated files and golden files anew
	cd manifest && $(GO) run ./internal/genschema
	$(GO) test ./manifest ./scaffold ./dashboard/... ./cmd/mesh/internal/cli -update

fuzz: ## every fuzz target for FUZZTIME (30s)
	@for pkg in $$($(GO) list $(PKGS)); do \
	  for target in $$($(GO) test -list '^Fuzz' $$pkg 2>/dev/null | grep '^Fuzz'); do \
	    echo "$$pkg $$target"; $(GO) test $$pkg -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x || exit 1; done; done

bench: build ## the figures of docs/performance.md
	$(GO) run ./bench -n $(N)

bench-%: build ## one of them, such as bench-reload; N=5 sets how often
	$(GO) run ./bench -n $(N) $*

e2e: ## the scripts against the real binary, and the demo's flow
	$(GO) test -count=1 -timeout 20m ./cmd/mesh/...

cross: ## every system that is released
	@for os in linux darwin windows; do for arch in amd64 arm64; do \
	  echo "$$os/$$arch"; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -buildvcs=false -trimpath -o /dev/null ./cmd/mesh || exit 1; done; done

snapshot: ## a release build without publishing
	$(TOOL) goreleaser release --snapshot --clean
