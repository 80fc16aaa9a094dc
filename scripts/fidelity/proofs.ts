import ts from 'typescript'

/** Tests and the rules they name, read from the sources of the tests without running them. */

/** A test, or a group of tests, whose name ends with rule IDs: `… [PERM-23]`, `… [GFPU-39..43, XSAVE-05]`. */
export interface Proof {
  /** From the repository's root. */
  readonly file: string
  /** Without the IDs; `…` where the name is put together at run time. */
  readonly name: string
  /** As written, ranges spread out. */
  readonly ids: readonly string[]
  /** Checks among them: they are no rules. */
  readonly checks: readonly string[]
  /** IDs that stand at the ends of ranges or alone: those must exist. */
  readonly named: readonly string[]
}

const RULE_ID = /^(PERM|GFPU|XSAVE|CET|SLD)-(\d+)([a-z]?)$/
/** A check that a subject asks for beside its rules: `SLD-T6`. */
const CHECK_ID = /^[A-Z]+-T\d+$/
const TEST_FUNCTIONS = new Set(['test', 'it', 'describe'])

/** Every test of one source file whose name has rule IDs, in the order of the file. */
export function proofsOf(file: string, text: string): Proof[] {
  const source = ts.createSourceFile(file, text, ts.ScriptTarget.ESNext, true)
  const found: Proof[] = []
  const constants = constantsOf(source)
  const visit = (node: ts.Node) => {
    if (ts.isCallExpression(node) && TEST_FUNCTIONS.has(rootOf(node.expression)) && node.arguments.length > 0) {
      for (const title of titlesOf(node, constants)) {
        const proof = proofOf(file, title)
        if (proof !== null) found.push(proof)
      }
    }
    ts.forEachChild(node, visit)
  }
  visit(source)
  return found
}

/** `test` of `test.skipIf(x).each(rows)(…)`. */
function rootOf(node: ts.Expression): string {
  if (ts.isIdentifier(node)) return node.text
  if (ts.isPropertyAccessExpression(node) || ts.isCallExpression(node)) return rootOf(node.expression)
  return ts.isTaggedTemplateExpression(node) ? rootOf(node.tag) : ''
}

/** Initializers of the constants at the top of a file, where tables of `each` may lie. */
function constantsOf(source: ts.SourceFile): ReadonlyMap<string, ts.Expression> {
  const found = new Map<string, ts.Expression>()
  for (const statement of source.statements)
    if (ts.isVariableStatement(statement))
      for (const { name, initializer } of statement.declarationList.declarations)
        if (ts.isIdentifier(name) && initializer !== undefined) found.set(name.text, initializer)
  return found
}

/** The name of a test; in front of it, names that a table of `each` gives to single rows. */
function titlesOf(call: ts.CallExpression, constants: ReadonlyMap<string, ts.Expression>): string[] {
  const { expression } = call
  // The table itself, `test.each(rows)`: its strings become names only through the call around it.
  if (ts.isPropertyAccessExpression(expression) && expression.name.text === 'each') return []
  const name = textOf(call.arguments[0])
  if (name === null) return []
  const rows: string[] = []
  const seen = new Set<ts.Expression>()
  const hole = /%s|\$\w+/
  if (hole.test(name) && ts.isCallExpression(expression)) {
    const visit = (node: ts.Node) => {
      if (ts.isStringLiteralLike(node)) rows.push(node.text)
      const constant = ts.isIdentifier(node) ? constants.get(node.text) : undefined
      if (constant !== undefined && !seen.has(constant)) {
        seen.add(constant)
        visit(constant)
      } else ts.forEachChild(node, visit)
    }
    expression.arguments.forEach(visit)
  }
  return [...rows.filter((row) => idsAtEnd(row) !== null).map((row) => name.replace(hole, () => row)), name]
}

function textOf(node: ts.Expression): string | null {
  if (ts.isStringLiteralLike(node)) return node.text
  if (ts.isTemplateExpression(node)) return node.head.text + node.templateSpans.map((span) => `…${span.literal.text}`).join('')
  if (!ts.isBinaryExpression(node) || node.operatorToken.kind !== ts.SyntaxKind.PlusToken) return null
  return `${textOf(node.left) ?? '…'}${textOf(node.right) ?? '…'}`
}

const idsAtEnd = (name: string): RegExpMatchArray | null => name.match(/^(.*?)\s*\[([^[\]]+)\]$/s)

function proofOf(file: string, title: string): Proof | null {
  const match = idsAtEnd(title.trim())
  if (match === null) return null
  const { ids, named } = rulesOf(match[2])
  const checks = match[2].split(',').flatMap((part) => part.trim().match(CHECK_ID) ?? [])
  return ids.length + checks.length === 0 ? null : { file, name: match[1].trim(), ids, checks, named }
}

/** The rules that a test's full name has in brackets, its groups' included. */
export function idsIn(fullName: string): string[] {
  return [...fullName.matchAll(/\[([^[\]]+)\]/g)].flatMap(([, list]) => rulesOf(list).ids)
}

/** Rules of `GFPU-39..41, -43`: all of them, and those that are written out. */
function rulesOf(list: string): { ids: string[]; named: string[] } {
  const ids: string[] = []
  const named: string[] = []
  let subject = ''
  for (const part of list.split(',').map((p) => p.trim())) {
    const [first, last] = part.split('..')
    const from = idOf(first, subject)
    if (from === null) continue
    subject = from.replace(/-.*/, '')
    named.push(from)
    ids.push(from)
    const to = last === undefined ? null : idOf(last, subject)
    if (to === null) continue
    named.push(to)
    for (let n = numberOf(from) + 1; n <= numberOf(to); n++) ids.push(`${subject}-${String(n).padStart(2, '0')}`)
  }
  return { ids, named }
}

/** `PERM-23`; `-24` and `24` continue the subject before them. */
function idOf(text: string, subject: string): string | null {
  const id = /^-?\d+[a-z]?$/.test(text) && subject !== '' ? `${subject}-${text.replace('-', '').padStart(2, '0')}` : text
  return RULE_ID.test(id) ? id : null
}

const numberOf = (id: string): number => Number(RULE_ID.exec(id)![2])
