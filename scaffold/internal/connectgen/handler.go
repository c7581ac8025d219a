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

import "google.golang.org/protobuf/compiler/protogen"

func generateServerInterface(g *protogen.GeneratedFile, service *protogen.Service, names names, simple bool) {
	wrapComments(g, names.Server, " is an implementation of the ", service.Desc.FullName(), " service.")
	deprecationParagraph(g, isDeprecatedService(service))
	g.AnnotateSymbol(names.Server, protogen.Annotation{Location: service.Location})
	g.P("type ", names.Server, " interface {")
	for _, method := range service.Methods {
		leadingComments(g, method.Comments.Leading, isDeprecatedMethod(method))
		g.AnnotateSymbol(names.Server+"."+method.GoName, protogen.Annotation{Location: method.Location})
		g.P(serverSignature(g, method, simple))
	}
	g.P("}")
	g.P()
}

func generateServerConstructor(g *protogen.GeneratedFile, file *protogen.File, service *protogen.Service, names names, simple bool) {
	wrapComments(g, names.ServerConstructor, " builds an HTTP handler from the service implementation.",
		" It returns the path on which to mount the handler and the handler itself.")
	g.P("//")
	wrapComments(g, "By default, handlers support the Connect, gRPC, and gRPC-Web protocols with ",
		"the binary Protobuf and JSON codecs. They also support gzip compression.")
	deprecationParagraph(g, isDeprecatedService(service))
	g.P("func ", names.ServerConstructor, "(svc ", names.Server, ", opts ...", connectPackage.Ident("HandlerOption"),
		") (string, ", httpPackage.Ident("Handler"), ") {")
	generateServiceMethodsVar(g, file, service)
	for _, method := range service.Methods {
		g.P(procedureHandlerName(method), ` := `, connectPackage.Ident(handlerConstructor(method, simple)), "(")
		g.P(procedureConstName(method), `,`)
		g.P("svc.", method.GoName, ",")
		generateMethodOptions(g, method)
		g.P(connectPackage.Ident("WithHandlerOptions"), "(opts...),")
		g.P(")")
	}
	generatePathSwitch(g, service)
	g.P("}")
	g.P()
}

// handlerConstructor names connect's function that makes the handler of method.
func handlerConstructor(method *protogen.Method, simple bool) string {
	isStreamingClient, isStreamingServer := method.Desc.IsStreamingClient(), method.Desc.IsStreamingServer()
	name := "NewUnaryHandler"
	switch {
	case isStreamingClient && isStreamingServer:
		return "NewBidiStreamHandler" // serves both forms
	case isStreamingClient:
		name = "NewClientStreamHandler"
	case isStreamingServer:
		name = "NewServerStreamHandler"
	}
	if simple {
		name += "Simple"
	}
	return name
}

// generatePathSwitch writes what a constructor returns: the service's path, and
// a handler that picks the method's by the path of the request.
func generatePathSwitch(g *protogen.GeneratedFile, service *protogen.Service) {
	g.P(`return "/`, service.Desc.FullName(), `/", `, httpPackage.Ident("HandlerFunc"), `(func(w `, httpPackage.Ident("ResponseWriter"), `, r *`, httpPackage.Ident("Request"), `){`)
	g.P("switch r.URL.Path {")
	for _, method := range service.Methods {
		g.P("case ", procedureConstName(method), ":")
		g.P(procedureHandlerName(method), ".ServeHTTP(w, r)")
	}
	g.P("default:")
	g.P(httpPackage.Ident("NotFound"), "(w, r)")
	g.P("}")
	g.P("})")
}

func generateUnimplementedServerImplementation(g *protogen.GeneratedFile, service *protogen.Service, names names, simple bool) {
	wrapComments(g, names.UnimplementedServer, " returns CodeUnimplemented from all methods.")
	g.P("type ", names.UnimplementedServer, " struct {}")
	g.P()
	for _, method := range service.Methods {
		g.P("func (", names.UnimplementedServer, ") ", serverSignature(g, method, simple), "{")
		results := "nil, "
		if method.Desc.IsStreamingServer() {
			results = ""
		}
		g.P("return ", results, connectPackage.Ident("NewError"), "(",
			connectPackage.Ident("CodeUnimplemented"), ", ", errorsPackage.Ident("New"),
			`("`, method.Desc.FullName(), ` is not implemented"))`)
		g.P("}")
		g.P()
	}
	g.P()
}
