import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CostSnapshot } from '../../src/linux/costs.ts'
import type { Host } from '../../src/vmm/modelled/host.ts'
import type { Process } from '../../src/vmm/process.ts'
import type { VcpuFd } from '../../src/vmm/vcpu-fd.ts'
import type { VmFd } from '../../src/vmm/vm-fd.ts'
import { hostOf } from './subjects.ts'

const XTILE_DATA = 18

/** A VM with what keeps it alive: its descriptors in every process that has them (KAPI-05). */
interface Vm {
  readonly fd: VmFd
  readonly owner: Life
  readonly vcpus: { readonly fd: VcpuFd; enlarged: boolean; open: boolean }[]
  open: boolean
  /** Descriptors of it and of its vCPUs, in all processes. */
  held: number
}
interface Life {
  readonly process: Process
  readonly permitted: boolean
  /** Which VMs its death lets go of, and how often. */
  readonly inherited: Map<Vm, number>
  readonly vms: Vm[]
}

/** Bytes before the image in every buffer (GFPU-01). */
const HEADER = 64

/** Bytes of images, by the rules. */
interface Sizes {
  readonly task: number
  readonly vcpu: number
  readonly enlarged: number
}

/** Processes, VMs and vCPUs that come and go, and the bytes of kernel buffers they should take. */
class World {
  readonly lives: Life[] = []
  private readonly host: Host
  private readonly sizes: Sizes
  private readonly baseline: number
  private readonly pages: number
  private readonly costs: CostSnapshot

  constructor(host: Host, sizes: Sizes) {
    this.host = host
    this.sizes = sizes
    this.baseline = host.kernel.heap.bytesInUse
    this.pages = host.kernel.pages.available
    this.costs = host.kernel.costs.snapshot()
  }

  do(action: string, pick: number): void {
    const life = this.lives[pick % Math.max(1, this.lives.length)]
    if (action === 'process' || life === undefined) this.start(pick % 2 === 0)
    else if (action === 'fork') this.fork(life)
    else if (action === 'exit') this.exit(life)
    else if (action === 'vm') {
      const vm: Vm = { fd: life.process.openKvm().createVm(), owner: life, vcpus: [], open: true, held: 1 }
      life.vms.push(vm)
    } else if (life.vms.length > 0) this.ofVm(action, life.vms[pick % life.vms.length], pick)
  }

  private start(permitted: boolean): void {
    const process = this.host.newProcess()
    if (permitted) process.archPrctl.reqXcompGuestPerm(XTILE_DATA)
    this.lives.push({ process, permitted, inherited: new Map(), vms: [] })
  }
  private fork(parent: Life): void {
    const inherited = new Map(parent.inherited)
    for (const vm of parent.vms) inherited.set(vm, (vm.open ? 1 : 0) + vm.vcpus.filter(({ open }) => open).length)
    for (const [vm, count] of inherited) vm.held += count
    this.lives.push({ process: parent.process.fork(), permitted: parent.permitted, inherited, vms: [] })
  }
  private exit(life: Life): void {
    life.process.exit()
    for (const [vm, count] of life.inherited) vm.held -= count
    for (const vm of life.vms) vm.held -= (vm.open ? 1 : 0) + vm.vcpus.filter(({ open }) => open).length
    for (const vm of life.vms) this.orphans.add(vm)
    this.lives.splice(this.lives.indexOf(life), 1)
  }
  /** VMs whose maker is gone; forks may still hold them. */
  private readonly orphans = new Set<Vm>()

  private ofVm(action: string, vm: Vm, pick: number): void {
    const vcpu = vm.vcpus[pick % Math.max(1, vm.vcpus.length)]
    if (action === 'vcpu' && vm.open) {
      vm.vcpus.push({ fd: vm.fd.createVcpu(vm.vcpus.length), enlarged: false, open: true })
      vm.held++
    } else if (action === 'tiles' && vcpu?.open) {
      const list = vm.fd.kvm.getSupportedCpuid().map((entry) => ({ ...entry }))
      const leaf = list.find((entry) => entry.function === 0xd && entry.index === 0)
      if (leaf !== undefined) leaf.eax |= 0x60000
      // Refused without permission: then nothing is allocated (GFPU-39, GFPU-43).
      if (vm.owner.permitted) {
        vcpu.fd.setCpuid2(list)
        vcpu.enlarged = true
      } else expect(() => vcpu.fd.setCpuid2(list)).toThrow('EPERM')
    } else if (action === 'close vcpu' && vcpu?.open) {
      vcpu.fd.close()
      vcpu.open = false
      vm.held--
    } else if (action === 'close vm' && vm.open) {
      vm.fd.close()
      vm.open = false
      vm.held--
    }
  }

  /** The books agree with what lives. */
  check(): void {
    const { task, vcpu, enlarged } = this.sizes
    const vms = [...this.lives.flatMap((life) => life.vms), ...this.orphans].filter(({ held }) => held > 0)
    const images = vms.flatMap(({ vcpus }) => vcpus.map((each) => (each.enlarged ? enlarged : vcpu)))
    const buffers = [...this.lives.map(() => task), ...images]
    const bytes = buffers.reduce((sum, image) => sum + HEADER + image, 0)
    const { kernel } = this.host
    expect(kernel.heap.bytesInUse).toBe(this.baseline + bytes)
    expect(kernel.pages.available).toBeGreaterThanOrEqual(0)
    // The same as the kernel's own books say, which leave the headers out.
    const { buffers: change, vcpus } = kernel.costs.since(this.costs)
    expect(change).toMatchObject({ live: buffers.length, liveBytes: bytes - buffers.length * HEADER })
    expect(change.peakBytes).toBeGreaterThanOrEqual(this.costs.buffers.liveBytes + change.liveBytes)
    expect(vcpus.map(({ image }) => image).sort()).toEqual(images.sort())
  }

  end(): void {
    for (const life of [...this.lives]) this.exit(life)
    expect(this.host.kernel.heap.bytesInUse).toBe(this.baseline)
    expect(this.host.kernel.pages.available).toBe(this.pages)
    const { buffers, vcpus } = this.host.kernel.costs.since(this.costs)
    expect(buffers).toMatchObject({ live: 0, liveBytes: 0 })
    expect(buffers.allocated).toBe(buffers.freed)
    expect(vcpus).toEqual([])
  }
}

const ACTIONS = ['process', 'fork', 'exit', 'vm', 'vm', 'vcpu', 'vcpu', 'vcpu', 'tiles', 'tiles', 'close vcpu', 'close vm']

describe('buffers of processes and vCPUs', () => {
  // Image sizes: the worked examples of the specification, PERM §13.
  test.each([
    ['linux-6.12', { task: 2560, vcpu: 2560, enlarged: 10752 }],
    ['linux-6.18', { task: 2560, vcpu: 2560, enlarged: 10752 }],
    ['linux-5.17', { task: 2560, vcpu: 2560, enlarged: 10752 }],
  ])('live as long as their owner, in any order of calls: %s [GFPU-01, GFPU-05, GFPU-39, GFPU-41, KAPI-05]', (kernel, sizes) => {
    const host = hostOf('SapphireRapids', kernel)
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...ACTIONS), fc.nat(100)), { minLength: 10, maxLength: 60 }), (actions) => {
        const world = new World(host, sizes)
        try {
          for (const [action, pick] of actions) {
            world.do(action, pick)
            world.check()
          }
        } finally {
          world.end()
        }
      }),
      { numRuns: 60, seed: 4 },
    )
  })
})
