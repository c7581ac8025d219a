// Copyright 2021-2026 The Connect Authors
//
// Licensed under the Apache License, Version 2.0 (the "License");
// you may not use this file except in compliance with the License.
// You may obtain a copy of the License at
//
//      http://www.apache.org/licenses/LICENSE-2.0
//
// Unless required by applicable law or agreed to in writing, software
// distributed under the License is distributed on an "AS IS" BASIS,
// WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
// See the License for the specific language governing permissions and
// limitations under the License.

// Changed from upstream's: the package comment tells how.

package connectgen

import (
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// clientSignature is the name, the parameters and the results of a client's
// method, with names for the parameters or, as in an interface, without.
func clientSignature(g *protogen.GeneratedFile, method *protogen.Method, named bool, simple bool) string {
	isStreamingClient, isStreamingServer := method.Desc.IsStreamingClient(), method.Desc.IsStreamingServer()
	if !isStreamingClient && !isStreamingServer {
		return method.GoName + unarySignature(g, method, named, simple)
	}
	ctxName, reqName := parameterNames(named)
	params := ctxName + g.QualifiedGoIdent(contextPackage.Ident("Context"))
	input, output := method.Input.GoIdent, method.Output.GoIdent
	var stream string
	switch {
	case isStreamingClient && isStreamingServer && simple:
		stream = pointerTo(g, "BidiStreamForClientSimple", input, output)
	case isStreamingClient && isStreamingServer:
		stream = pointerTo(g, "BidiStreamForClient", input, output)
	case isStreamingClient && simple:
		stream = pointerTo(g, "ClientStreamForClientSimple", input, output)
	case isStreamingClient:
		stream = pointerTo(g, "ClientStreamForClient", input, output)
	default:
		params += ", " + reqName + pointerToMessage(g, "Request", input, simple)
		stream = pointerTo(g, "ServerStreamForClient", output)
	}
	if isStreamingClient && !simple {
		return method.GoName + "(" + params + ") " + stream
	}
	return method.GoName + "(" + params + ") (" + stream + ", error)"
}

// serverSignature is the name, the parameters and the results of a handler's
// method.
func serverSignature(g *protogen.GeneratedFile, method *protogen.Method, simple bool) string {
	isStreamingClient, isStreamingServer := method.Desc.IsStreamingClient(), method.Desc.IsStreamingServer()
	if !isStreamingClient && !isStreamingServer {
		return method.GoName + unarySignature(g, method, false /* named */, simple)
	}
	ctx := g.QualifiedGoIdent(contextPackage.Ident("Context"))
	input, output := method.Input.GoIdent, method.Output.GoIdent
	switch {
	case isStreamingClient && isStreamingServer:
		return method.GoName + "(" + ctx + ", " + pointerTo(g, "BidiStream", input, output) + ") error"
	case isStreamingClient:
		return method.GoName + "(" + ctx + ", " + pointerTo(g, "ClientStream", input) + ") " +
			"(" + pointerToMessage(g, "Response", output, simple) + ", error)"
	default:
		return method.GoName + "(" + ctx + ", " + pointerToMessage(g, "Request", input, simple) + ", " +
			pointerTo(g, "ServerStream", output) + ") error"
	}
}

// unarySignature is what follows the name of a method without streams, which is
// the same for clients and handlers.
func unarySignature(g *protogen.GeneratedFile, method *protogen.Method, named bool, simple bool) string {
	ctxName, reqName := parameterNames(named)
	return "(" + ctxName + g.QualifiedGoIdent(contextPackage.Ident("Context")) + ", " +
		reqName + pointerToMessage(g, "Request", method.Input.GoIdent, simple) + ") " +
		"(" + pointerToMessage(g, "Response", method.Output.GoIdent, simple) + ", error)"
}

func parameterNames(named bool) (ctxName, reqName string) {
	if !named {
		return "", ""
	}
	return "ctx ", "req "
}

// pointerToMessage is a pointer to message, with simple to itself and else in
// connect's wrapper, Request or Response.
func pointerToMessage(g *protogen.GeneratedFile, wrapper string, message protogen.GoIdent, simple bool) string {
	if simple {
		return "*" + g.QualifiedGoIdent(message)
	}
	return pointerTo(g, wrapper, message)
}

// pointerTo is a pointer to connect's generic type called name, of arguments.
func pointerTo(g *protogen.GeneratedFile, name string, arguments ...protogen.GoIdent) string {
	generic := g.QualifiedGoIdent(connectPackage.Ident(name))
	var qualified []string
	for _, argument := range arguments {
		qualified = append(qualified, g.QualifiedGoIdent(argument))
	}
	return "*" + generic + "[" + strings.Join(qualified, ", ") + "]"
}
