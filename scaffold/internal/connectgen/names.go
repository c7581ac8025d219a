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
	"fmt"
	"go/token"
	"strings"

	"google.golang.org/protobuf/compiler/protogen"
)

// names are those of what is generated for a service.
type names struct {
	Client              string
	ClientConstructor   string
	ClientImpl          string
	Server              string
	ServerConstructor   string
	UnimplementedServer string
}

func newNames(service *protogen.Service) names {
	base := service.GoName
	return names{
		Client:              fmt.Sprintf("%sClient", base),
		ClientConstructor:   fmt.Sprintf("New%sClient", base),
		ClientImpl:          fmt.Sprintf("%sClient", unexport(base)),
		Server:              fmt.Sprintf("%sHandler", base),
		ServerConstructor:   fmt.Sprintf("New%sHandler", base),
		UnimplementedServer: fmt.Sprintf("Unimplemented%sHandler", base),
	}
}

func procedureConstName(m *protogen.Method) string {
	return fmt.Sprintf("%s%sProcedure", m.Parent.GoName, m.GoName)
}

func procedureHandlerName(m *protogen.Method) string {
	return fmt.Sprintf("%s%sHandler", unexport(m.Parent.GoName), m.GoName)
}

func serviceVarMethodsName(m *protogen.Service) string {
	return unexport(fmt.Sprintf("%sMethods", m.GoName))
}

// procedureVarMethodDescriptor is the expression for a method's descriptor.
func procedureVarMethodDescriptor(m *protogen.Method) string {
	serviceMethodsName := serviceVarMethodsName(m.Parent)
	return serviceMethodsName + `.ByName("` + string(m.Desc.Name()) + `")`
}

func unexport(s string) string {
	lowercased := strings.ToLower(s[:1]) + s[1:]
	if token.IsKeyword(lowercased) {
		return "_" + lowercased
	}
	return lowercased
}
