import { KVM_EXIT_HLT, KVM_EXIT_IO } from '../../kvm/abi/exit-reasons.ts'
import { KVM_IOCTL } from '../../kvm/abi/ioctl-numbers.ts'
import type { Vcpu } from '../../kvm/vcpu/vcpu.ts'
import { finish, type Preemptible, SLEEP } from '../../linux/preemption.ts'
import type { Task } from '../../linux/task.ts'
import { WaitQueue, waitUntil } from '../../linux/wait-queue.ts'
import { Host } from '../../vmm/modelled/host.ts'
import { enterGuest, LOCKS, loadGuest } from './guest.ts'
import { PAUSE, type Setting, SHORT_RUN, sleeper } from './observe.ts'

/** CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM */
const THREAD = 0x50f00
/** Virtual time within which a vCPU's locks are over, however long each takes (100 ms). ns */
const LONG_ENOUGH = LOCKS * 100e6

/** How long the guest takes for the locks that lie apart when `count` vCPUs do the same at the same time, each on a processor of its own. */
export interface Crowd {
  readonly vcpus: number
  /** Virtual time until the last vCPU had its LOCKS split locks, ns. */
  readonly apart: number
}

/** Runs the guest with several vCPUs, each on a thread of the VMM that the host's scheduler runs. */
export function observeCrowd(setting: Setting, vcpus: number, decoder: WebAssembly.Module): Crowd {
  const { cpu, kernel: profile, mode, mitigate, guestDetects } = setting
  const host = new Host({
    cpu,
    kernel: profile,
    memory: 16 << 20,
    processors: vcpus,
    splitLockDetect: mode,
    decoder,
    engine: SHORT_RUN,
  })
  const { kernel } = host
  if (mitigate !== null) kernel.splitLock.mitigate = mitigate
  const process = host.newProcess('vmm')
  const vm = process.openKvm().createVm()
  const guest = loadGuest(vm)
  const ended: number[] = []
  const threads = Array.from({ length: vcpus }, (_, id) => {
    const fd = vm.createVcpu(id)
    enterGuest(fd, guestDetects)
    process.backend.clone!(THREAD)
    const task = [...kernel.tasks.values()].at(-1)!
    task.comm = `CPU ${id}/KVM`
    task.affinity = 1 << id
    return { task, file: fd.fd, vcpu: [...host.kvm.vms][0].vcpuById(id)! }
  })
  const started = kernel.clock.now
  for (const { task, file, vcpu } of threads) {
    task.activity = vcpuThread(task, file, vcpu, () => ended.push(kernel.clock.now - started))
    task.wake()
  }
  // The VMM's first thread sleeps until all of them must have ended.
  sleeper(process, LONG_ENOUGH * vcpus)()
  if (ended.length < vcpus || threads.some((_, id) => guest.completed(id) < LOCKS))
    throw new Error('a vCPU of the crowd did not end')
  return { vcpus, apart: Math.max(...ended) }
}

/** KVM_RUN until the guest says that its locks are done; then the thread sleeps for good. */
function* vcpuThread(task: Task, file: number, vcpu: Vcpu, done: () => void): Preemptible<number> {
  const { clock } = task.kernel
  for (;;) {
    yield* finish(task.files.get(file)!.ioctl(task, KVM_IOCTL.KVM_RUN, 0))
    if (vcpu.run.exitReason === KVM_EXIT_IO) break
    if (vcpu.run.exitReason !== KVM_EXIT_HLT) throw new Error(`the guest left KVM_RUN by exit ${vcpu.run.exitReason}`)
    yield* waitUntil(task, new WaitQueue(), () => false, clock.now + PAUSE)
  }
  done()
  for (;;) {
    task.prepareToSleep()
    yield SLEEP
  }
}
