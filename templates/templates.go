// Package templates holds the template trees that scaffold renders, and
// nothing else.
//
// A tree is rendered file by file with text/template, names of files included;
// the suffix .tmpl is dropped, and a file that renders to nothing is left out.
package templates

import "embed"

// FS holds the trees:
//
//	service             what every service has
//	connect, http,      what one template adds to it, or has instead
//	worker
//	workspace           a new workspace
//	shop                the example: whole files laid over generated services
//	versions.json       the version of each library that a service may import
//	modules.json        what go mod tidy makes of them, for each set of imports
//
//go:embed all:service all:connect all:http all:worker all:workspace all:shop versions.json modules.json
var FS embed.FS
