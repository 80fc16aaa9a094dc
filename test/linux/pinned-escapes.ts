import ts from 'typescript'

/** A place where a pinned processor could outlive the code that is pinned to it. */
export interface Escape {
  readonly line: number
  readonly because: string
}

/**
 * What TypeScript's types let through: a pinned processor used in a generator or an async function, in a function inside the one that has it (a timer's, a
 * callback's), kept in a record or list, or a place made to keep one. Parameters are the only place for it.
 */
export function pinnedEscapes(file: ts.SourceFile, checker: ts.TypeChecker): Escape[] {
  const escapes = new Map<number, string>()
  // A file that names none of these has no pinned processor in it.
  if (!/PinnedProcessor|withPreemptionDisabled|onEachProcessor|armOn/.test(file.text)) return []
  const report = (node: ts.Node, because: string): void => {
    escapes.set(file.getLineAndCharacterOfPosition(node.getStart()).line + 1, because)
  }
  const visit = (node: ts.Node): void => {
    if (ts.isTypeReferenceNode(node) && node.typeName.getText() === 'PinnedProcessor' && !isPlaceForOne(node))
      report(node, 'a place to keep a pinned processor')
    if (ts.isIdentifier(node) && isUse(node) && isPinned(checker.getTypeAtLocation(node))) {
      const because = escapeOf(node, checker)
      if (because !== null) report(node, because)
    }
    ts.forEachChild(node, visit)
  }
  visit(file)
  return [...escapes].map(([line, because]) => ({ line, because })).sort((a, b) => a.line - b.line)
}

/** A parameter, or the function that makes pinned processors. */
function isPlaceForOne(node: ts.TypeReferenceNode): boolean {
  return ts.isParameter(node.parent) || node.getSourceFile().fileName.endsWith('src/linux/processor.ts')
}

/** A value is meant: not the name in a declaration, a property's, or a type's. */
function isUse({ parent }: ts.Identifier): boolean {
  return !ts.isParameter(parent) && !ts.isImportSpecifier(parent) && !ts.isTypeNode(parent)
}

/** `PinnedProcessor`, or the processor in it, which is its view and more. */
function isPinned(declared: ts.Type): boolean {
  const type = declared.getNonNullableType()
  if (!type.isIntersection()) return false
  const names = type.getProperties().map(({ escapedName }) => String(escapedName))
  return names.some((name) => name.startsWith('__@pinned@') || name === 'wrmsrXfd')
}

function escapeOf(node: ts.Identifier, checker: ts.TypeChecker): string | null {
  const { parent } = node
  const user = functionAround(node)
  if (user !== null && canGoOnLater(user)) return 'a pinned processor in code that goes on later'
  if (ts.isShorthandPropertyAssignment(parent) || ts.isArrayLiteralExpression(parent)) return 'a pinned processor in a record'
  if (ts.isPropertyAssignment(parent) && parent.initializer === node) return 'a pinned processor in a record'
  const owner = checker.getSymbolAtLocation(node)?.valueDeclaration
  if (owner === undefined || !isLocal(owner)) return null
  return functionAround(owner) === user ? null : 'a pinned processor taken along by a function inside'
}

const isLocal = (node: ts.Declaration): boolean =>
  ts.isParameter(node) || ts.isVariableDeclaration(node) || ts.isBindingElement(node)

function canGoOnLater(node: ts.SignatureDeclaration): boolean {
  if ('asteriskToken' in node && node.asteriskToken !== undefined) return true
  return ts.canHaveModifiers(node) && (ts.getModifiers(node) ?? []).some(({ kind }) => kind === ts.SyntaxKind.AsyncKeyword)
}

function functionAround(node: ts.Node): ts.SignatureDeclaration | null {
  for (let at = node.parent; at !== undefined; at = at.parent) if (ts.isFunctionLike(at)) return at
  return null
}
