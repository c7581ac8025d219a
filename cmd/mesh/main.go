// Command mesh scaffolds microservices and runs a whole system of them on one machine.
package main

import (
	"os"

	"github.com/ebef7166/mesh/cmd/mesh/internal/cli"
)

func main() { os.Exit(cli.Main()) }
