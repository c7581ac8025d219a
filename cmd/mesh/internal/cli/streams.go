package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// Streams are the three standard streams of the program. Results go to Out,
// everything else to Err.
type Streams struct {
	In  io.Reader
	Out io.Writer
	Err io.Writer
}

// System returns the streams of the running process.
func System() Streams { return Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr} }

// terminal reports whether w or r is a terminal.
func terminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// interactive reports whether mesh may ask questions and draw: both ends are
// terminals, which can more than print, and nobody said that this is CI.
func (s Streams) interactive() bool {
	return terminal(s.In) && terminal(s.Out) && os.Getenv("CI") == "" && os.Getenv("TERM") != "dumb"
}

// coloured reports whether w may get colour (https://no-color.org).
func coloured(w io.Writer) bool {
	return terminal(w) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}
