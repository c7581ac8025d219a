package build

import "os/exec"

const executableSuffix = ".exe"

func interruptible(*exec.Cmd) {}
