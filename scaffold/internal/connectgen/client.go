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

func generateClientInterface(g *protogen.GeneratedFile, service *protogen.Service, names names, simple bool) {
	wrapComments(g, names.Client, " is a client for the ", service.Desc.FullName(), " service.")
	deprecationParagraph(g, isDeprecatedService(service))
	g.AnnotateSymbol(names.Client, protogen.Annotation{Location: service.Location})
	g.P("type ", names.Client, " interface {")
	for _, method := range service.Methods {
		g.AnnotateSymbol(names.Client+"."+method.GoName, protogen.Annotation{Location: method.Location})
		leadingComments(g, method.Comments.Leading, isDeprecatedMethod(method))
		g.P(clientSignature(g, method, false /* named */, simple))
	}
	g.P("}")
	g.P()
}

func generateClientConstructor(g *protogen.GeneratedFile, file *protogen.File, service *protogen.Service, names names) {
	wrapComments(g, names.ClientConstructor, " constructs a client for the ", service.Desc.FullName(),
		" service. By default, it uses the Connect protocol with the binary Protobuf Codec, ",
		"asks for gzipped responses, and sends uncompressed requests. ",
		"To use the gRPC or gRPC-Web protocols, supply the connect.WithGRPC() or ",
		"connect.WithGRPCWeb() options.")
	g.P("//")
	wrapComments(g, "The URL supplied here should be the base URL for the Connect or gRPC server ",
		"(for example, http://api.acme.com or https://acme.com/grpc).")
	deprecationParagraph(g, isDeprecatedService(service))
	g.P("func ", names.ClientConstructor, " (httpClient ", connectPackage.Ident("HTTPClient"),
		", baseURL string, opts ...", connectPackage.Ident("ClientOption"), ") ", names.Client, " {")
	if len(service.Methods) > 0 {
		g.P("baseURL = ", stringsPackage.Ident("TrimRight"), `(baseURL, "/")`)
	}
	generateServiceMethodsVar(g, file, service)
	g.P("return &", names.ClientImpl, "{")
	for _, method := range service.Methods {
		g.P(unexport(method.GoName), ": ",
			connectPackage.Ident("NewClient"),
			"[", method.Input.GoIdent, ", ", method.Output.GoIdent, "]",
			"(",
		)
		g.P("httpClient,")
		g.P(`baseURL + `, procedureConstName(method), `,`)
		generateMethodOptions(g, method)
		g.P(connectPackage.Ident("WithClientOptions"), "(opts...),")
		g.P("),")
	}
	g.P("}")
	g.P("}")
	g.P()
}

func generateClientImplementation(g *protogen.GeneratedFile, service *protogen.Service, names names, simple bool) {
	wrapComments(g, names.ClientImpl, " implements ", names.Client, ".")
	g.P("type ", names.ClientImpl, " struct {")
	for _, method := range service.Methods {
		g.P(unexport(method.GoName), " *", connectPackage.Ident("Client"),
			"[", method.Input.GoIdent, ", ", method.Output.GoIdent, "]")
	}
	g.P("}")
	g.P()
	for _, method := range service.Methods {
		generateClientMethod(g, method, names, simple)
	}
}

func generateClientMethod(g *protogen.GeneratedFile, method *protogen.Method, names names, simple bool) {
	wrapComments(g, method.GoName, " calls ", method.Desc.FullName(), ".")
	deprecationParagraph(g, isDeprecatedMethod(method))
	g.P("func (c *", names.ClientImpl, ") ", clientSignature(g, method, true /* named */, simple), " {")

	client := "c." + unexport(method.GoName)
	request, ifSimple := "req", ""
	if simple {
		request, ifSimple = g.QualifiedGoIdent(connectPackage.Ident("NewRequest"))+"(req)", "Simple"
	}
	isStreamingClient, isStreamingServer := method.Desc.IsStreamingClient(), method.Desc.IsStreamingServer()
	switch {
	case isStreamingClient && isStreamingServer:
		g.P("return ", client, ".CallBidiStream", ifSimple, "(ctx)")
	case isStreamingClient:
		g.P("return ", client, ".CallClientStream", ifSimple, "(ctx)")
	case isStreamingServer:
		g.P("return ", client, ".CallServerStream(ctx, ", request, ")")
	case simple:
		g.P("response, err := ", client, ".CallUnary(ctx, ", request, ")")
		g.P("if response != nil {")
		g.P("return response.Msg, err")
		g.P("}")
		g.P("return nil, err")
	default:
		g.P("return ", client, ".CallUnary(ctx, ", request, ")")
	}
	g.P("}")
	g.P()
}
