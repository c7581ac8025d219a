//go:build !linux

package cli

func doctorLimits() []finding { return nil }
