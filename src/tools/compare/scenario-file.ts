import * as v from 'valibot'
import { UserError } from '../../isa/user-error.ts'
import type { CpuidEntry2 } from '../../vmm/cpuid-list.ts'
import type { Host } from '../../vmm/modelled/host.ts'
import type { Process } from '../../vmm/process.ts'
import type { VcpuFd } from '../../vmm/vcpu-fd.ts'
import type { XsaveImage } from '../../vmm/xsave-image.ts'
import { readDocument } from '../json-document.ts'
import { makeVmm, onlyComponents } from './guest.ts'
import type { Lab } from './lab.ts'
import type { CompareScenario } from './scenario.ts'

/** A scenario that somebody wrote: JSON, docs/compare.md. Bounded, so that no file can keep a machine busy. */
const MOST_STEPS = 1000
const MOST_IDLE_TASKS = 2000
const MOST_INSTRUCTIONS = 10_000_000
const MOST_CODE = 4096

const text = v.pipe(v.string(), v.maxLength(200))
const hex64 = v.pipe(v.string(), v.regex(/^0x[0-9a-fA-F]{1,16}$/, 'a number such as 0x40000 is needed'))
const count = (most: number) => v.pipe(v.number(), v.integer(), v.minValue(1), v.maxValue(most))
const code = v.pipe(v.string(), v.regex(/^([0-9a-fA-F]{2}\s?)*$/, 'bytes in hexadecimal are needed'), v.maxLength(MOST_CODE * 3))
const component = v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(2 ** 32 - 1))

const STEP = v.union([
  v.strictObject({ prctl: v.picklist(['GET_XCOMP_SUPP', 'GET_XCOMP_PERM', 'GET_XCOMP_GUEST_PERM']) }),
  v.strictObject({ prctl: v.picklist(['REQ_XCOMP_PERM', 'REQ_XCOMP_GUEST_PERM']), component }),
  v.strictObject({ vcpu: v.strictObject({ components: v.optional(hex64), code: v.optional(code) }) }),
  v.strictObject({ xcr0: hex64 }),
  v.strictObject({ rdmsr: hex64 }),
  v.strictObject({ wrmsr: hex64, value: hex64 }),
  v.strictObject({ getXsave: v.literal(true) }),
  v.strictObject({
    setXsave: v.strictObject({
      set: v.optional(hex64),
      clear: v.optional(hex64),
      fill: v.optional(component),
      byte: v.optional(v.pipe(v.number(), v.integer(), v.minValue(0), v.maxValue(255))),
    }),
  }),
  v.strictObject({ run: count(MOST_INSTRUCTIONS) }),
  v.strictObject({ migrate: v.strictObject({ kernel: v.optional(text), cpu: v.optional(text) }) }),
  v.strictObject({ idleTasks: count(MOST_IDLE_TASKS) }),
])
const FILE = v.strictObject({
  format: v.literal('worldswitch scenario'),
  version: v.literal(1),
  title: v.optional(text, ''),
  profiles: v.optional(v.pipe(v.array(text), v.minLength(1), v.maxLength(20)), ['linux-6.12', 'linux-6.18']),
  cpu: v.optional(text, 'SapphireRapids'),
  steps: v.pipe(v.array(STEP), v.minLength(1), v.maxLength(MOST_STEPS)),
})
type Step = v.InferOutput<typeof STEP>

/** @throws UserError naming the place that is wrong */
export function readScenarioFile(json: string, path: string): CompareScenario {
  const refuse = (because: string) =>
    new UserError({
      code: 'bad-scenario',
      what: `${path} is no scenario`,
      where: '--scenario',
      because,
      fix: 'docs/compare.md has the form',
    })
  const { title, profiles, cpu, steps } = readDocument(FILE, json, refuse)
  return { name: path, title, document: path, profiles, cpu, run: (lab) => new FileRun(lab).run(steps) }
}

const showImage = (image: XsaveImage): string =>
  `XSTATE_BV=0x${image.xstateBv.toString(16)} (${image.presentNames || 'all initial'})`

/** The steps of a file, on one VMM at a time. */
class FileRun {
  private readonly lab: Lab
  private host: Host
  private process: Process
  private vcpu: VcpuFd | null = null
  private image: XsaveImage | null = null

  constructor(lab: Lab) {
    this.lab = lab
    this.host = lab.host({ memory: 96 << 20 })
    this.process = this.host.newProcess('vmm')
  }

  run(steps: readonly Step[]): void {
    steps.forEach((step, i) => {
      this.step(step, `${i + 1}. ${JSON.stringify(step).slice(1, -1).replaceAll('"', '')}`)
    })
  }

  private step(step: Step, what: string): void {
    const { lab } = this
    if ('prctl' in step) lab.step(what, () => this.prctl(step))
    else if ('vcpu' in step)
      lab.step(
        what,
        () => this.makeVcpu(step.vcpu),
        () => 'ok',
      )
    else if ('xcr0' in step) lab.step(what, () => this.mustHaveVcpu(what).setXcr0(BigInt(step.xcr0)))
    else if ('rdmsr' in step) lab.step(what, () => this.mustHaveVcpu(what).readMsr(Number(step.rdmsr)))
    else if ('wrmsr' in step) lab.step(what, () => this.mustHaveVcpu(what).writeMsr(Number(step.wrmsr), BigInt(step.value)))
    else if ('getXsave' in step) this.image = lab.step(what, () => this.mustHaveVcpu(what).getXsave2(), showImage) ?? this.image
    else if ('setXsave' in step) lab.step(what, () => this.setXsave(step.setXsave, what))
    else if ('run' in step)
      lab.step(
        what,
        () => this.mustHaveVcpu(what).run({ maxInstructions: step.run }),
        (exit) => exit.reason,
      )
    else if ('idleTasks' in step) lab.note(what, this.idleTasks(step.idleTasks))
    else this.migrate(step.migrate, what)
  }

  private mustHaveVcpu(what: string): VcpuFd {
    if (this.vcpu !== null) return this.vcpu
    throw new UserError({
      code: 'bad-scenario',
      what: `step ${what} has no vCPU`,
      where: '--scenario',
      because: 'no step before it makes one',
      fix: 'begin with {"vcpu": {}}',
    })
  }

  private prctl(step: Extract<Step, { prctl: string }>): bigint | void {
    const { archPrctl } = this.process
    switch (step.prctl) {
      case 'GET_XCOMP_SUPP':
        return archPrctl.getXcompSupp()
      case 'GET_XCOMP_PERM':
        return archPrctl.getXcompPerm()
      case 'GET_XCOMP_GUEST_PERM':
        return archPrctl.getXcompGuestPerm()
      case 'REQ_XCOMP_PERM':
        return archPrctl.reqXcompPerm(step.component)
      case 'REQ_XCOMP_GUEST_PERM':
        return archPrctl.reqXcompGuestPerm(step.component)
    }
  }

  private makeVcpu({ components, code: bytes }: Extract<Step, { vcpu: unknown }>['vcpu']): void {
    const chosen =
      components === undefined ? (all: CpuidEntry2[]) => all : onlyComponents(Number(BigInt(components) & 0xffff_ffffn))
    const guest =
      bytes === undefined ? {} : { code: (bytes.match(/[0-9a-fA-F]{2}/g) ?? []).map((byte) => Number.parseInt(byte, 16)) }
    this.vcpu = makeVmm(this.host, { process: this.process, cpuid: chosen, ...guest }).vcpu
  }

  private setXsave({ set, clear, fill, byte = 0x5a }: Extract<Step, { setXsave: unknown }>['setXsave'], what: string): void {
    const vcpu = this.mustHaveVcpu(what)
    const image = this.image?.clone() ?? vcpu.getXsave2()
    image.xstateBv = (image.xstateBv | BigInt(set ?? '0x0')) & ~BigInt(clear ?? '0x0')
    if (fill !== undefined) image.component(fill).fill(byte)
    vcpu.setXsave(image.bytes)
  }

  private idleTasks(tasks: number): string {
    const before = this.host.costs.snapshot().buffers.liveBytes
    for (let i = 0; i < tasks; i++) this.host.newProcess('idle')
    return `${this.host.costs.snapshot().buffers.liveBytes - before} bytes of FPU buffers`
  }

  /** KVM_GET_XSAVE2 here, KVM_SET_CPUID2 and KVM_SET_XSAVE on a new host. */
  private migrate({ kernel, cpu }: Extract<Step, { migrate: unknown }>['migrate'], what: string): void {
    const { lab } = this
    const source = this.mustHaveVcpu(what)
    const image = lab.step(`${what}: KVM_GET_XSAVE2`, () => source.getXsave2(), showImage)
    const cpuid = source.getCpuid2()
    const permissions = this.process.archPrctl
    const hadAmx = lab.step(`${what}: guest permission on the source`, () => permissions.getXcompGuestPerm()) ?? 0n
    this.host = lab.host({ memory: 96 << 20, ...(kernel === undefined ? {} : { kernel }), ...(cpu === undefined ? {} : { cpu }) })
    this.process = this.host.newProcess('vmm')
    if ((hadAmx >> 18n) & 1n) lab.step(`${what}: REQ_XCOMP_GUEST_PERM 18`, () => this.process.archPrctl.reqXcompGuestPerm(18))
    const target = makeVmm(this.host, { process: this.process, cpuid: null }).vcpu
    this.vcpu = target
    lab.step(`${what}: KVM_SET_CPUID2`, () => target.setCpuid2(cpuid))
    if (image !== undefined) lab.step(`${what}: KVM_SET_XSAVE`, () => target.setXsave(image.bytes))
  }
}
