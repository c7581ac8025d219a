package devgateway

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
)

// files serves a folder, or one file of it. The folder is opened anew for each
// request: what builds a front end replaces it. Whatever a name or a symbolic link
// says, nothing outside of it is reached (os.Root).
type files struct {
	dir    string
	only   string // the name of the one file that there is; "": all
	prefix string // of the paths, without its last slash
	spa    bool   // what is not there is answered with index.html
}

const index = "index.html"

func newFiles(r *Route) *files {
	switch {
	case r.Static == "":
		return nil
	case r.Path != "":
		return &files{dir: filepath.Dir(r.Static), only: filepath.Base(r.Static)}
	}
	return &files{dir: r.Static, prefix: strings.TrimSuffix(r.Prefix, "/"), spa: r.SPA}
}

// serveFile answers a GET or a HEAD, with ranges and conditions (RFC 9110, 13 and 14).
// Clients ask each time whether what they have is still right: a page of yesterday
// would be a riddle.
func (x *exchange) serveFile(r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		x.refuse(r, &problem{status: http.StatusMethodNotAllowed, allow: "GET, HEAD", cause: "files are read with GET and HEAD"})
		return
	}
	if p := x.route.files.serve(&x.w, r); p != nil {
		x.refuse(r, p)
	}
}

func (f *files) serve(w *writer, r *http.Request) *problem {
	root, err := os.OpenRoot(f.dir)
	if err != nil {
		return noFolder(f.dir, err)
	}
	defer root.Close()
	file, info, err := f.open(root, r)
	var toSlash *addSlash
	switch {
	case errors.As(err, &toSlash):
		w.Header().Set("Location", toSlash.location)
		w.WriteHeader(http.StatusTemporaryRedirect)
		return nil
	case errors.Is(err, errNoApp):
		return notBuilt("the folder " + f.dir + " has no " + index + " (yet), the page of the app")
	case errors.Is(err, fs.ErrPermission):
		return &problem{status: http.StatusForbidden, cause: r.URL.Path + " cannot be read: its file is not readable for this user"}
	case err != nil: // also a name that is too long, or leads out of the folder
		return &problem{status: http.StatusNotFound, cause: "no file for " + r.URL.Path}
	}
	defer file.Close()
	h := w.Header()
	h.Set("Etag", `"`+strconv.FormatInt(info.ModTime().UnixNano(), 36)+"-"+strconv.FormatInt(info.Size(), 36)+`"`)
	h.Set("Cache-Control", "no-cache")
	h.Set("X-Content-Type-Options", "nosniff")
	http.ServeContent(w, r, info.Name(), info.ModTime(), file)
	return nil
}

func noFolder(dir string, err error) *problem {
	if errors.Is(err, fs.ErrNotExist) {
		return notBuilt("the folder " + dir + " is not there (yet)")
	}
	return &problem{status: http.StatusServiceUnavailable, cause: "the folder " + dir + " cannot be read: " + plainCause(err), retry: 1}
}

func notBuilt(cause string) *problem {
	return &problem{status: http.StatusServiceUnavailable, cause: cause + ": build the front end", retry: 1}
}

// addSlash says that a path is a folder's, whose page needs a slash behind it: it
// names other files relative to that.
type addSlash struct{ location string }

func (e *addSlash) Error() string { return "a folder" }

// open finds the file for a request: that of its path, index.html of a folder, or
// that of the single-page app.
func (f *files) open(root *os.Root, r *http.Request) (*os.File, fs.FileInfo, error) {
	name := f.name(r.URL.Path)
	file, info, err := openRegular(root, name)
	switch slash := strings.HasSuffix(r.URL.Path, "/"); {
	case err == nil && slash && f.only == "":
		file.Close()
		err = fs.ErrNotExist // only a folder has a slash behind it
	case errors.Is(err, errFolder):
		if file, info, err = openRegular(root, path.Join(name, index)); err == nil && !slash {
			file.Close()
			return nil, nil, &addSlash{slashed(r)}
		}
	}
	if err != nil && f.spa && !errors.Is(err, fs.ErrPermission) && wantsPage(r) {
		return openApp(root)
	}
	return file, info, err
}

var errNoApp = errors.New("no page of the app")

// openApp opens the page of a single-page app.
func openApp(root *os.Root) (*os.File, fs.FileInfo, error) {
	file, info, err := openRegular(root, index)
	if errors.Is(err, fs.ErrNotExist) {
		err = errNoApp
	}
	return file, info, err
}

// name is where below the folder the file of a path is: "." for the folder itself.
func (f *files) name(requested string) string {
	if f.only != "" {
		return f.only
	}
	below := strings.TrimPrefix(strings.TrimPrefix(requested, f.prefix), "/")
	if below == "" {
		return "."
	}
	return strings.TrimSuffix(below, "/")
}

var errFolder = errors.New("a folder")

// openRegular opens a regular file. A folder is errFolder; what is neither of the
// two, or hidden, is not there.
func openRegular(root *os.Root, name string) (*os.File, fs.FileInfo, error) {
	if !fs.ValidPath(name) || hidden(name) {
		return nil, nil, fs.ErrNotExist
	}
	name = filepath.FromSlash(name)
	info, err := root.Stat(name) // before it is opened, which could wait for ever on a pipe
	switch {
	case err != nil:
		return nil, nil, err
	case info.IsDir():
		return nil, nil, errFolder
	case !info.Mode().IsRegular():
		return nil, nil, fs.ErrNotExist
	}
	file, err := root.Open(name)
	if err != nil {
		return nil, nil, err
	}
	return file, info, nil
}

// hidden reports that a part of a name begins with a dot: .git, .env and the like
// are nobody's to read. RFC 8615 makes one exception.
func hidden(name string) bool {
	for part := range strings.SplitSeq(name, "/") {
		if part[0] == '.' && part != "." && part != ".well-known" {
			return true
		}
	}
	return false
}

// slashed is the request's own target with a slash behind its path, as a reference
// (RFC 3986, 4.2) that can lead to no other host.
func slashed(r *http.Request) string {
	location := "./" + path.Base(r.URL.EscapedPath()) + "/"
	if r.URL.RawQuery != "" {
		location += "?" + r.URL.RawQuery
	}
	return location
}

// wantsPage tells a page that the app draws itself from a file that it misses,
// which must not be answered with a page: browsers say that they want HTML when
// they go somewhere, and files have an ending.
func wantsPage(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Accept"), "text/html") || path.Ext(strings.TrimSuffix(r.URL.Path, "/")) == ""
}
