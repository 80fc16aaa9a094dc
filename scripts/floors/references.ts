import ts from 'typescript'
import { NODE_GLOBALS, NONDETERMINISTIC } from './house.ts'

export interface Reference {
  /** The module or the global, as written. */
  name: string
  line: number
}

/** Everything one source file refers to that the house has an opinion on. */
export interface References {
  imports: Reference[]
  nodeGlobals: Reference[]
  nondeterministic: Reference[]
}

/**
 * Imports are found in every form the language has: import and export declarations, type-only ones, `import()`,
 * `import('x').T`, `import x = require()`, `require()`.
 */
export function referencesOf(path: string, text: string): References {
  const file = ts.createSourceFile(path, text, ts.ScriptTarget.ESNext, true)
  const found: References = { imports: [], nodeGlobals: [], nondeterministic: [] }
  const declared = declaredNames(file)

  const visit = (node: ts.Node) => {
    const line = file.getLineAndCharacterOfPosition(node.getStart()).line + 1
    const specifier = importSpecifier(node)
    if (specifier) found.imports.push({ name: specifier.text, line })
    if (ts.isIdentifier(node) && NODE_GLOBALS.includes(node.text) && isFreeValue(node) && !declared.has(node.text))
      found.nodeGlobals.push({ name: node.text, line })
    const impure = impureExpression(node)
    if (impure) found.nondeterministic.push({ name: impure, line })
    ts.forEachChild(node, visit)
  }
  visit(file)
  return found
}

const stringLiteral = (node: ts.Node | undefined) => (node && ts.isStringLiteralLike(node) ? node : undefined)

/** The module a node names, if the node is an import in any of its forms. */
function importSpecifier(node: ts.Node): ts.StringLiteralLike | undefined {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return stringLiteral(node.moduleSpecifier)
  if (ts.isExternalModuleReference(node)) return stringLiteral(node.expression)
  if (ts.isImportTypeNode(node)) return ts.isLiteralTypeNode(node.argument) ? stringLiteral(node.argument.literal) : undefined
  if (!ts.isCallExpression(node)) return undefined
  const isImport = node.expression.kind === ts.SyntaxKind.ImportKeyword
  const isRequire = ts.isIdentifier(node.expression) && node.expression.text === 'require'
  return isImport || isRequire ? stringLiteral(node.arguments[0]) : undefined
}

/** Names bound anywhere in the file: a parameter called `process` is a modelled process, not Node's. */
function declaredNames(file: ts.SourceFile): Set<string> {
  const names = new Set<string>()
  const visit = (node: ts.Node) => {
    const bindsName =
      ts.isVariableDeclaration(node) ||
      ts.isParameter(node) ||
      ts.isBindingElement(node) ||
      ts.isFunctionDeclaration(node) ||
      ts.isClassDeclaration(node) ||
      ts.isImportSpecifier(node) ||
      ts.isImportClause(node) ||
      ts.isNamespaceImport(node)
    if (bindsName && node.name && ts.isIdentifier(node.name)) names.add(node.name.text)
    ts.forEachChild(node, visit)
  }
  visit(file)
  return names
}

/** Whether an identifier is read as a variable: not the name of a member, a key or a label, and not inside a type. */
function isFreeValue(node: ts.Identifier): boolean {
  const parent = node.parent
  if (ts.isPropertyAccessExpression(parent)) return parent.expression === node
  if (ts.isPropertyAssignment(parent)) return parent.initializer === node
  return ts.isExpression(parent) || ts.isStatement(parent) || ts.isVariableDeclaration(parent) || ts.isSpreadAssignment(parent)
}

/** `Date.now`, `Math.random` and their like, and `new Date()` without arguments; undefined for anything else. */
function impureExpression(node: ts.Node): string | undefined {
  if (ts.isNewExpression(node) && node.expression.getText() === 'Date' && !node.arguments?.length) return 'new Date()'
  if (!ts.isPropertyAccessExpression(node)) return undefined
  const name = node.getText().replace(/^globalThis\./, '')
  return NONDETERMINISTIC.includes(name) ? name : undefined
}
