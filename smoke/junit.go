package smoke

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"time"
)

// The elements of JUnit's XML that CI systems read.
type (
	suites struct {
		XMLName  xml.Name `xml:"testsuites"`
		Name     string   `xml:"name,attr"`
		Tests    int      `xml:"tests,attr"`
		Failures int      `xml:"failures,attr"`
		Skipped  int      `xml:"skipped,attr"`
		Time     string   `xml:"time,attr"`
		Suites   []*suite `xml:"testsuite"`
	}
	suite struct {
		Name     string     `xml:"name,attr"`
		Tests    int        `xml:"tests,attr"`
		Failures int        `xml:"failures,attr"`
		Skipped  int        `xml:"skipped,attr"`
		Time     string     `xml:"time,attr"`
		Cases    []testcase `xml:"testcase"`
		total    time.Duration
	}
	testcase struct {
		Class   string    `xml:"classname,attr"`
		Name    string    `xml:"name,attr"`
		Time    string    `xml:"time,attr"`
		Failure *failure  `xml:"failure,omitempty"`
		Skipped *struct{} `xml:"skipped,omitempty"`
	}
	failure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes results as JUnit's XML: a suite a check, a case a step.
func WriteJUnit(w io.Writer, name string, results []Result) error {
	all := &suites{Name: name}
	byName := map[string]*suite{}
	var total time.Duration
	for _, r := range results {
		s := byName[r.Check]
		if s == nil {
			s = &suite{Name: r.Check}
			byName[r.Check] = s
			all.Suites = append(all.Suites, s)
		}
		s.add(r)
		total += r.Duration
	}
	for _, s := range all.Suites {
		s.Time = seconds(s.total)
		all.Tests, all.Failures, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Skipped+s.Skipped
	}
	all.Time = seconds(total)
	data, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "%s%s\n", xml.Header, data)
	return err
}

func (s *suite) add(r Result) {
	c := testcase{Class: r.Check, Name: r.Step, Time: seconds(r.Duration)}
	switch {
	case r.Skipped:
		c.Skipped = &struct{}{}
		s.Skipped++
	case r.Failure != "":
		c.Failure = &failure{Message: printable(r.Failure), Text: printable(r.Failure)}
		s.Failures++
	}
	s.Tests++
	s.total += r.Duration
	s.Cases = append(s.Cases, c)
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.3f", d.Seconds()) }

// printable drops what XML 1.0 cannot hold.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if r < 0x20 && r != '\n' && r != '\t' || r == 0xFFFE || r == 0xFFFF {
			return -1
		}
		return r
	}, text)
}
