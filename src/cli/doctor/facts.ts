/** What the probe (probe.c) prints: a JSON object a line. Lines that are none are passed over: a kernel under test may cut it short. */

export interface CpuidFact {
  readonly eax: number
  readonly ebx: number
  readonly ecx: number
  readonly edx: number
}

/** The probe's answers. Results are the system calls': negative ones are errno numbers. Null or absent: not asked. */
export interface ProbeFacts {
  /** The probe came to its end. */
  readonly complete: boolean
  readonly release: string | null
  readonly machine: string | null
  readonly brand: string | null
  /** XGETBV(0). */
  readonly xcr0: bigint | null
  /** CPUID of the processor, and of KVM_GET_SUPPORTED_CPUID, by `leaf.subleaf` in hex: `7.0`, `d.1`. */
  readonly cpuid: ReadonlyMap<string, CpuidFact>
  readonly supportedCpuid: ReadonlyMap<string, CpuidFact>
  /** By option; `value` of the GET options. */
  readonly archPrctl: ReadonlyMap<string, { readonly result: number; readonly value: bigint }>
  /** open(/dev/kvm): 0 or -errno. */
  readonly open: number | null
  /** By ioctl, in the order in which they were made. */
  readonly ioctl: ReadonlyMap<string, number>
  /** KVM_X86_XCOMP_GUEST_SUPP. */
  readonly guestComponents: { readonly result: number; readonly value: bigint } | null
  /** KVM_CHECK_EXTENSION(KVM_CAP_XSAVE2), with every permission that the probe got. */
  readonly xsave2: number | null
  /** Exit reason of a guest that executes HLT. */
  readonly guestExit: number | null
}

type Line = Readonly<Record<string, unknown>>

export function parseFacts(output: string): ProbeFacts {
  const lines = output.split('\n').flatMap(parseLine)
  const first = (kind: string): Line | undefined => lines.find((line) => line['fact'] === kind)
  const all = (kind: string): Line[] => lines.filter((line) => line['fact'] === kind)
  const uname = first('uname')
  const components = first('guest_components')
  return {
    complete: first('end') !== undefined,
    release: text(uname, 'release'),
    machine: text(uname, 'machine'),
    brand: text(first('brand'), 'name')?.trim() ?? null,
    xcr0: first('xcr0') === undefined ? null : mask(first('xcr0')!, 'value'),
    cpuid: cpuidTable(all('cpuid')),
    supportedCpuid: cpuidTable(all('supported_cpuid')),
    archPrctl: new Map(
      all('arch_prctl').map((line) => [String(line['option']), { result: count(line, 'result'), value: mask(line, 'value') }]),
    ),
    open: result(first('open')),
    ioctl: new Map(all('ioctl').map((line) => [String(line['name']), count(line, 'result')])),
    guestComponents: components === undefined ? null : { result: count(components, 'result'), value: mask(components, 'value') },
    xsave2: result(first('capability')),
    guestExit: first('guest_exit') === undefined ? null : count(first('guest_exit')!, 'reason'),
  }
}

function parseLine(line: string): Line[] {
  if (!line.startsWith('{')) return []
  try {
    const value: unknown = JSON.parse(line)
    return typeof value === 'object' && value !== null ? [value as Line] : []
  } catch {
    return []
  }
}

const cpuidTable = (lines: readonly Line[]): Map<string, CpuidFact> =>
  new Map(
    lines.map((line) => {
      const reg = (name: string) => Number(mask(line, name))
      return [
        `${mask(line, 'leaf').toString(16)}.${mask(line, 'subleaf').toString(16)}`,
        { eax: reg('eax'), ebx: reg('ebx'), ecx: reg('ecx'), edx: reg('edx') },
      ]
    }),
  )

const text = (line: Line | undefined, name: string): string | null => {
  const value = line?.[name]
  return typeof value === 'string' ? value : null
}
const count = (line: Line, name: string): number => (typeof line[name] === 'number' ? (line[name] as number) : 0)
const result = (line: Line | undefined): number | null => (line === undefined ? null : count(line, 'result'))
const mask = (line: Line, name: string): bigint => {
  const value = line[name]
  return typeof value === 'string' && /^0x[0-9a-f]{1,16}$/.test(value) ? BigInt(value) : 0n
}
